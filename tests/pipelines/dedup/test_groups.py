"""pipelines/dedup/groups: components are networkx's, and nobody stands behind a keeper that is far away."""

import networkx as nx
import numpy as np
import pytest

from pipelines.dedup.groups import Member, components, resolve


def _member(name: str, bits: int = 0, pixels: int = 100) -> Member:
    """A picture whose hash has its first `bits` bits set."""
    pattern = np.zeros(256, dtype=np.uint8)
    pattern[:bits] = 1
    mirrored = np.tile([0, 1], 128).astype(np.uint8)
    return Member(name, pixels, 10, 1.0, bytes(np.packbits(pattern)), bytes(np.packbits(mirrored)))


@pytest.mark.parametrize("seed", range(20))
def test_components_equal_networkx(seed: int) -> None:
    graph = nx.gnm_random_graph(60, 40, seed=seed)
    names = [f"{node:03d}" for node in graph.nodes]
    pairs = [(names[left], names[right]) for left, right in graph.edges]
    found = components([_member(name) for name in names], pairs)
    expected = {frozenset(names[node] for node in part) for part in nx.connected_components(graph)}
    assert {frozenset(member.image_id for member in part) for part in found} == expected


def test_the_keeper_is_the_largest_then_the_first_by_id() -> None:
    members = [_member("c", pixels=50), _member("b", pixels=100), _member("a", pixels=100)]
    duplicates = list(resolve(members, [("a", "b"), ("b", "c")], max_distance=31))
    assert {(d.image_id, d.keeper_id) for d in duplicates} == {("b", "a"), ("c", "a")}


def test_a_chain_is_cut_where_it_leaves_the_keeper() -> None:
    # 0 - 20 - 40 - 60 bits from the keeper: neighbours are alike, the ends are not.
    members = [_member(name, bits) for name, bits in (("a", 0), ("b", 20), ("c", 40), ("d", 60))]
    duplicates = list(resolve(members, [("a", "b"), ("b", "c"), ("c", "d")], max_distance=31))
    assert [(d.image_id, d.keeper_id, d.distance) for d in duplicates] == [("b", "a", 20), ("d", "c", 20)]


def test_the_order_of_members_and_pairs_does_not_matter() -> None:
    members = [_member(f"{index}", index * 7) for index in range(9)]
    pairs = [(f"{index}", f"{index + 1}") for index in range(8)]
    forwards = sorted(resolve(members, pairs, max_distance=31), key=lambda d: d.image_id)
    backwards = sorted(resolve(members[::-1], pairs[::-1], max_distance=31), key=lambda d: d.image_id)
    assert forwards == backwards
