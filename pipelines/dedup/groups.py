"""From verified pairs to groups with one keeper each.

Pairs are joined into connected components; a component can chain pictures that are not alike (a~b~c), so every
member is compared with the keeper again, and those too far away start a group of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipelines.hashing import hamming


@dataclass(frozen=True)
class Member:
    """What decides over a picture that has near-duplicates."""

    image_id: str
    num_pixels: int
    num_bytes: int
    blur: float
    hash: bytes
    hash_flipped: bytes

    @property
    def order(self) -> tuple[int, int, float, str]:
        """Sorts the best first: resolution, bytes, sharpness, and `image_id` so that no two are equal."""
        return (-self.num_pixels, -self.num_bytes, -self.blur, self.image_id)


@dataclass(frozen=True)
class Duplicate:
    """One picture that stands behind another; `distance` in bits."""

    image_id: str
    keeper_id: str
    distance: int


def resolve(members: Sequence[Member], pairs: Sequence[tuple[str, str]], *, max_distance: int) -> Iterator[Duplicate]:
    """Name the keeper of every picture that is not one itself.

    Args:
        members: every picture that occurs in a pair, once.
        pairs: verified near-duplicates by `image_id`.
        max_distance: bits between a member and its keeper, mirrored or not.
    """
    for component in components(members, pairs):
        rest = sorted(component, key=lambda member: member.order)
        while len(rest) > 1:
            keeper, others = rest[0], rest[1:]
            distances = _distances(keeper, others)
            for member, distance in zip(others, distances, strict=True):
                if distance <= max_distance:
                    yield Duplicate(member.image_id, keeper.image_id, distance)
            rest = [m for m, distance in zip(others, distances, strict=True) if distance > max_distance]


def components(members: Sequence[Member], pairs: Sequence[tuple[str, str]]) -> list[list[Member]]:
    """The connected components of the graph whose edges are the pairs."""
    index = {member.image_id: position for position, member in enumerate(members)}
    rows = np.array([index[left] for left, _ in pairs], dtype=np.int64)
    columns = np.array([index[right] for _, right in pairs], dtype=np.int64)
    graph = coo_matrix((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(len(members),) * 2)
    count, labels = connected_components(graph, directed=False)
    found: list[list[Member]] = [[] for _ in range(count)]
    for member, label in zip(members, labels, strict=True):
        found[label].append(member)
    return found


def _distances(keeper: Member, others: Sequence[Member]) -> list[int]:
    plain = np.frombuffer(b"".join(member.hash for member in others), dtype=np.uint8).reshape(len(others), -1)
    flipped = np.frombuffer(b"".join(member.hash_flipped for member in others), dtype=np.uint8).reshape(plain.shape)
    kept = np.frombuffer(keeper.hash, dtype=np.uint8)
    kept_flipped = np.frombuffer(keeper.hash_flipped, dtype=np.uint8)
    # The hash of a mirror image is nearly, not exactly, symmetric: both sides are asked, as for the pairs.
    nearest = np.minimum.reduce([hamming(plain, kept), hamming(flipped, kept), hamming(plain, kept_flipped)])
    return [int(distance) for distance in nearest]
