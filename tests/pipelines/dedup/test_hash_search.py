"""pipelines/dedup/hash_search: what exhaustive comparison of unpacked bits joins is joined, and nothing else."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.dedup import hash_search
from pipelines.dedup.hash_files import arrange, kinds_of
from pipelines.dedup.hash_search import Entries, Table, bit_order, search_hashes, table_of
from pipelines.settings import UserError

Bits = NDArray[np.uint8]
EVERYTHING = table_of([])


def disjoint_tables(bits: int, groups: int) -> list[Table]:
    orders = [bit_order(f"test {group}") for group in range(groups)]
    return [table_of(order[start : start + bits]) for order in orders for start in range(0, 256 - bits + 1, bits)]


def to_words(bits: Bits) -> NDArray[np.uint64]:
    return np.packbits(bits, axis=1, bitorder="little").view("<u8")


def entries_of(plain: Bits, flipped: Bits, is_old: NDArray[np.bool_] | None = None) -> Entries:
    count = len(plain)
    old = np.zeros(count, dtype=bool) if is_old is None else is_old
    return arrange(to_words(np.concatenate([plain, flipped])), np.tile(np.arange(count), 2), kinds_of(old))


def exhaustive(plain: Bits, flipped: Bits, max_distance: int) -> set[tuple[int, int]]:
    """Pairs within the distance, from matrices of differing bits."""
    first, mirrored = plain.astype(np.float32), flipped.astype(np.float32)

    def differing(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
        return left @ (1 - right).T + (1 - left) @ right.T

    across = differing(first, mirrored)
    nearest = np.minimum(differing(first, first), np.minimum(across, across.T))
    return {(int(i), int(j)) for i, j in np.argwhere(nearest <= max_distance) if i < j}


def as_set(pairs: NDArray[np.int64]) -> set[tuple[int, int]]:
    return {(int(left), int(right)) for left, right in pairs}


def joined(count: int, pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    graph = nx.Graph(list(pairs))
    graph.add_nodes_from(range(count))
    return {frozenset(part) for part in nx.connected_components(graph)}


def planted(count: int, seed: int) -> tuple[Bits, Bits]:
    """Random hashes; of every picture below 64 there is one at that many bits / 2, every other one of the mirror."""
    rng = np.random.default_rng(seed)
    plain, flipped = rng.integers(0, 2, (2, count, 256), dtype=np.uint8)
    for picture in range(64):
        copy = plain[picture].copy()
        copy[rng.choice(256, picture // 2, replace=False)] ^= 1
        (plain if picture % 2 else flipped)[count - 1 - picture] = copy
    return plain, flipped


def test_comparing_everything_finds_exactly_the_pairs_within_the_distance() -> None:
    plain, flipped = planted(400, seed=0)
    found = search_hashes(entries_of(plain, flipped), [EVERYTHING], max_distance=24)
    assert as_set(found.pairs) == exhaustive(plain, flipped, 24)
    assert len(found.pairs) == 50
    # Plain against plain once, against the mirror image of every other, and against that of itself, which is no pair.
    assert found.num_compared == 400 * 399 // 2 + 400 * 400


def test_tables_find_every_planted_pair_and_nothing_else() -> None:
    plain, flipped = planted(3000, seed=1)
    found = search_hashes(entries_of(plain, flipped), disjoint_tables(12, groups=6), max_distance=31)
    assert as_set(found.pairs) == exhaustive(plain, flipped, 31)
    assert len(found.pairs) == 64
    assert found.num_skipped == 0


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    spread=st.integers(0, 12),
    max_distance=st.integers(0, 40),
)
@hypothesis_settings(deadline=None, max_examples=60)
def test_what_the_tables_join_is_what_comparing_everything_joins(
    seed: int, sizes: list[int], spread: int, max_distance: int
) -> None:
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.integers(0, 2, (len(sizes), 256), dtype=np.uint8), sizes, axis=0)
    plain = centres ^ (rng.random(centres.shape) < spread / 256)
    flipped = plain[:, ::-1] ^ (rng.random(centres.shape) < 0.01)
    expected = exhaustive(plain, flipped, max_distance)
    # Eight bits miss no pair in practice, at these distances and so many tables.
    found = as_set(
        search_hashes(entries_of(plain, flipped), disjoint_tables(8, groups=3), max_distance=max_distance).pairs
    )
    assert found <= expected
    assert joined(len(plain), found) == joined(len(plain), expected)


def test_a_cluster_of_many_copies_costs_about_one_pair_each() -> None:
    rng = np.random.default_rng(2)
    centre = rng.integers(0, 2, 256, dtype=np.uint8)
    plain = centre ^ (rng.random((5000, 256)) < 4 / 256)
    flipped = rng.integers(0, 2, (5000, 256), dtype=np.uint8)
    found = search_hashes(entries_of(plain, flipped), disjoint_tables(16, groups=1), max_distance=31)
    assert len(joined(5000, as_set(found.pairs))) == 1
    assert len(found.pairs) < 3 * 5000


def test_overfull_buckets_of_hashes_that_are_not_close_are_cut_short_and_counted() -> None:
    rng = np.random.default_rng(3)
    plain, flipped = rng.integers(0, 2, (2, 4000, 256), dtype=np.uint8)
    plain[:, :128] = 0  # alike in half of the bits, and still far apart
    tables = [table_of(range(16))]
    found = search_hashes(entries_of(plain, flipped), tables, max_distance=31)
    assert len(found.pairs) == 0
    assert found.num_compared + found.num_skipped >= 4000 * 3999 // 2
    assert found.num_compared <= 2 * 4000


def test_pairs_of_two_old_pictures_are_not_found_and_all_others_are() -> None:
    plain, flipped = planted(3000, seed=4)
    is_old = np.random.default_rng(5).random(3000) < 0.8
    expected = {(left, right) for left, right in exhaustive(plain, flipped, 31) if not (is_old[left] and is_old[right])}
    entries = entries_of(plain, flipped, is_old)
    assert 5 < len(expected) < 40
    for tables in ([EVERYTHING], disjoint_tables(12, groups=6)):
        assert as_set(search_hashes(entries, tables, max_distance=31).pairs) == expected


def test_the_order_of_the_entries_and_gaps_in_their_numbers_change_nothing() -> None:
    plain, flipped = planted(2000, seed=6)
    words, kinds = to_words(np.concatenate([plain, flipped])), kinds_of(np.zeros(2000, dtype=bool))
    pictures, order = np.tile(np.arange(2000), 2), np.random.default_rng(7).permutation(4000)
    tables = disjoint_tables(14, groups=2)
    expected = search_hashes(arrange(words, pictures, kinds), tables, max_distance=31)
    found = search_hashes(arrange(words[order], 10_000 + 3 * pictures[order], kinds[order]), tables, max_distance=31)
    assert (found.pairs == 10_000 + 3 * expected.pairs).all()


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_picture_have_no_pairs(count: int) -> None:
    none = np.zeros((count, 256), dtype=np.uint8)
    for tables in ([EVERYTHING], disjoint_tables(16, groups=1)):
        assert search_hashes(entries_of(none, none), tables, max_distance=31).pairs.shape == (0, 2)


def test_more_entries_than_a_key_can_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, flipped = planted(100, seed=0)
    entries = entries_of(plain, flipped)
    monkeypatch.setattr(hash_search, "MAX_ENTRIES", 200)
    assert len(search_hashes(entries, disjoint_tables(8, groups=1), max_distance=31).pairs)
    monkeypatch.setattr(hash_search, "MAX_ENTRIES", 199)
    with pytest.raises(UserError, match=r"200 hashes, and at most 199 .*lower dedup\.max_hashes_per_task"):
        search_hashes(entries, disjoint_tables(8, groups=1), max_distance=31)


def test_the_last_row_that_is_allowed_fits_into_a_key() -> None:
    last = np.uint64(hash_search.MAX_ENTRIES - 1)
    assert int(last << np.uint64(2)) + 3 < 1 << 32 <= int((last + np.uint64(1)) << np.uint64(2))
