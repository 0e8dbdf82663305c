"""The columns by which pictures are compared, and the rule by which two of them are copies of one another."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.arrays import BoolArray, IntArray, UInt8Array
from pipelines.dedup.residual import are_within
from pipelines.hashing import hamming

MISSING = -1


@dataclass(frozen=True)
class CopyRule:
    """The limits of `DedupSettings` for copies; without a residual the hashes alone decide."""

    max_distance: int
    max_residual: float | None = None


@dataclass(frozen=True)
class Signatures:
    """The columns by which N pictures are compared; the pictures of a component are neighbours."""

    component: IntArray  # (N,) ascending
    hash: UInt8Array  # (N, 32)
    flipped: UInt8Array  # (N, 32) of the mirror image
    hash_is_reliable: BoolArray  # (N,) false where the picture is too flat
    pixels: IntArray  # (N,) equal codes = equal pixels; MISSING = unknown
    thumbnail: IntArray  # (N,) place in `thumbnails`; MISSING = unknown
    thumbnails: UInt8Array  # (T, 48, 48)

    def part(self, rows: IntArray) -> "Signatures":
        """The signatures of some of the pictures."""
        names = ("component", "hash", "flipped", "hash_is_reliable", "pixels", "thumbnail")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def distances(self, rows: IntArray, others: "Signatures", to: IntArray) -> IntArray:
        """Hamming distances (K,) between `rows` and the rows `to` of `others`, the smallest of plain and mirrored."""
        return np.minimum(*self._both_distances(rows, others, to))

    def have_equal_pixels(self, rows: IntArray, others: "Signatures", to: IntArray) -> BoolArray:
        """(K,): the pixels of both are known and equal."""
        equal: BoolArray = (self.pixels[rows] == others.pixels[to]) & (self.pixels[rows] >= 0)
        return equal

    def are_alike(self, rows: IntArray, others: "Signatures", to: IntArray, rule: CopyRule) -> BoolArray:
        """(K,): the pixels are equal, or both hashes are reliable and close, and so are the thumbnails.

        Where a thumbnail is unknown, the hashes decide.
        """
        alike = self.have_equal_pixels(rows, others, to)
        compared = np.flatnonzero(~alike & self.hash_is_reliable[rows] & others.hash_is_reliable[to])
        rows, to = rows[compared], to[compared]
        plain, mirrored = self._both_distances(rows, others, to)
        if rule.max_residual is None:
            alike[compared] = np.minimum(plain, mirrored) <= rule.max_distance
            return alike
        one, other = self.thumbnail[rows], others.thumbnail[to]
        is_unknown = (one == MISSING) | (other == MISSING)
        found = is_unknown & (np.minimum(plain, mirrored) <= rule.max_distance)
        for distance, is_mirrored in ((plain, False), (mirrored, True)):
            looked = np.flatnonzero((distance <= rule.max_distance) & ~is_unknown & ~found)
            left, right = one[looked], other[looked]
            found[looked] = are_within(
                self.thumbnails, left, others.thumbnails, right, rule.max_residual, mirrored=is_mirrored
            )
        alike[compared] = found
        return alike

    def _both_distances(self, rows: IntArray, others: "Signatures", to: IntArray) -> tuple[IntArray, IntArray]:
        """Distances (K,) of the pictures as they are, and of one and the mirror image of the other."""
        plain = hamming(self.hash[rows], others.hash[to])
        # The hash of a mirror image is only nearly symmetric, so both sides are compared, as for the pairs.
        mirrored = np.minimum(
            hamming(self.flipped[rows], others.hash[to]), hamming(self.hash[rows], others.flipped[to])
        )
        return plain.astype(np.int64), mirrored.astype(np.int64)
