"""Finds close 256-bit hashes by bit sampling: hashes that agree in the sampled bits of some table are compared.

Indyk and Motwani, "Approximate nearest neighbors" (STOC 1998). A table is one sort of all entries by their sampled
bits: equal bits form a bucket, candidate pairs come from one bucket, and each is verified by its Hamming distance.
Pictures that are already in one cluster are not compared again, so that many copies cost a chain of pairs and not their
square.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipelines.arrays import Int32Array, IntArray, UInt8Array, UInt64Array
from pipelines.dedup.hamming import differing
from pipelines.records import HASH_BITS
from pipelines.settings import UserError

WORDS = HASH_BITS // 64  # a hash as unsigned integers, in the machine's byte order


FLIPPED, OLD = np.uint8(1), np.uint8(2)  # bits of a kind: two entries are compared unless they share one
_KIND = np.uint64(3)

_ROWS_AT_ONCE = 1 << 14  # arrays that numpy passes over several times stay in the processor's second cache
# Beyond two neighbours of each entry, larger buckets are skipped and no more candidates are compared: entries that one
# table does not separate are left to other tables.
_MOST_IN_BUCKET = 512
_COMPARISONS_PER_ENTRY = 16
# Clusters are merged when one in so many entries found a partner in a table.
_ENTRIES_PER_MERGE = 1024
MAX_ENTRIES = 1 << 30  # of one search: row number, two bits of kind and half a key share 64 bits
_LOW = np.uint64(0xFFFF_FFFF)
_HIGH = np.uint64(0xFFFF_FFFF_0000_0000)


@dataclass(frozen=True)
class Entries:
    """The N hashes that are compared, plain or of the mirror image; new pictures come before old ones."""

    words: UInt64Array  # (N, 4)
    pictures: IntArray  # (N,), the number of the hashed picture
    kinds: UInt8Array  # (N,), FLIPPED and OLD
    num_new: int  # the first entries, which are not old


@dataclass(frozen=True)
class Table:
    """The bits that one table samples."""

    masks: UInt64Array  # (4,)
    factors: UInt64Array  # (4,), odd


@dataclass(frozen=True)
class HashPairs:
    """Pairs of pictures within the distance: enough of them to connect each cluster."""

    pairs: IntArray  # (P, 2), numbers of pictures, the smaller one left, each pair once, sorted
    num_compared: int  # candidates, verified or not
    num_skipped: int  # upper bound of the candidates in overfull buckets that were not compared


def bit_order(name: str) -> list[int]:
    """The 256 bit positions in a pseudo-random order that depends on the name alone."""
    return sorted(range(HASH_BITS), key=lambda bit: sha256(f"{name}/{bit}".encode()).digest())


def table_of(bits: Sequence[int]) -> Table:
    """The table that samples these positions (bit 0 = the lowest of word 0)."""
    masks = [sum(1 << (bit % 64) for bit in bits if bit // 64 == word) for word in range(WORDS)]
    factors = [int.from_bytes(sha256(f"factor {word}".encode()).digest()[:8], "little") | 1 for word in range(WORDS)]
    return Table(np.array(masks, dtype=np.uint64), np.array(factors, dtype=np.uint64))


def search_hashes(entries: Entries, tables: Sequence[Table], *, max_distance: int) -> HashPairs:
    """Find the pairs of all tables, one table after the other.

    Args:
        tables: at least one; a table without bits compares all entries with all, and makes others superfluous.
        max_distance: number of bits in which the hashes of a pair may differ.

    Raises:
        UserError: there are more than MAX_ENTRIES entries.
    """
    if len(entries.words) > MAX_ENTRIES:
        raise UserError(
            f"a search task has {len(entries.words):,} hashes, and at most {MAX_ENTRIES:,} are possible; "
            "lower dedup.max_hashes_per_task"
        )
    clusters = _Clusters(entries)
    compared, skipped = 0, 0
    for table in tables:
        if not table.masks.any():
            compared += _compare_all(entries, clusters, max_distance)
            continue
        num_compared, num_skipped = _compare_buckets(_sorted_keys(entries, table), entries, clusters, max_distance)
        compared, skipped = compared + num_compared, skipped + num_skipped
        clusters.merge(least=len(entries.words) // _ENTRIES_PER_MERGE)
    return HashPairs(clusters.pairs(), compared, skipped)


class _Clusters:
    """The pairs found so far, and the clusters that they form."""

    def __init__(self, entries: Entries) -> None:
        self._pictures = entries.pictures
        # Numbered without gaps; both hashes of a picture begin with one label, so they are never paired.
        self._count, self.labels = _numbered(entries.pictures)
        self._found: list[IntArray] = []
        self._waiting: list[IntArray] = []
        self._num_waiting = 0

    def add(self, left: IntArray, right: IntArray) -> None:
        """Add pairs of entries."""
        if len(left):
            self._found.append(np.stack([self._pictures[left], self._pictures[right]], axis=1))
            self._waiting.append(np.stack([self.labels[left], self.labels[right]], axis=1))
            self._num_waiting += len(left)

    def merge(self, *, least: int) -> None:
        """Give one label to each cluster that the new pairs form, if there are at least `least` of them."""
        if self._num_waiting < max(1, least):
            return
        touched, ends = np.unique(np.concatenate(self._waiting), return_inverse=True)
        ends = ends.reshape(-1, 2)
        graph = coo_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(len(touched),) * 2)
        _, components = connected_components(graph, directed=False)
        _, firsts = np.unique(components, return_index=True)
        renamed = np.arange(self._count, dtype=np.int32)
        renamed[touched] = touched[firsts[components]]
        self.labels = renamed.take(self.labels)
        self._waiting, self._num_waiting = [], 0

    def pairs(self) -> IntArray:
        if not self._found:
            return np.empty((0, 2), dtype=np.int64)
        return np.unique(np.sort(np.concatenate(self._found), axis=1), axis=0)


def _numbered(pictures: IntArray) -> tuple[int, Int32Array]:
    most = int(pictures.max(initial=-1)) + 1
    if most <= len(pictures):
        return most, pictures.astype(np.int32)
    numbers, labels = np.unique(pictures, return_inverse=True)
    return len(numbers), labels.astype(np.int32)


def _sorted_keys(entries: Entries, table: Table) -> UInt64Array:
    """Sorted keys: a hash of an entry's sampled bits in the high half, its row and kind in the low half."""
    keys = _keys(entries, table, 0, entries.num_new)
    if entries.num_new < len(entries.words):
        keys = np.concatenate([keys, *_old_keys(entries, table, keys)])
    keys.sort()
    return keys


def _old_keys(entries: Entries, table: Table, new: UInt64Array) -> Iterator[UInt64Array]:
    """The keys of old entries that may share a bucket with a new one: few of them where few entries are new."""
    shift = np.uint64(64 - min(26, max(16, (16 * len(new)).bit_length())))
    occurs = np.zeros(1 << (64 - int(shift)), dtype=bool)
    occurs[new >> shift] = True
    step = 16 * _ROWS_AT_ONCE
    for start in range(entries.num_new, len(entries.words), step):
        keys = _keys(entries, table, start, start + step)
        yield keys[occurs.take((keys >> shift).view(np.int64))]


def _keys(entries: Entries, table: Table, first: int, last: int) -> UInt64Array:
    """Keys; the high half hashes the masked words by multiplication with odd numbers (Dietzfelbinger et al., 1997)."""
    keys = np.empty(min(last, len(entries.words)) - first, dtype=np.uint64)
    other = np.empty(_ROWS_AT_ONCE, dtype=np.uint64)
    steps = np.arange(_ROWS_AT_ONCE, dtype=np.uint64) << np.uint64(2)
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        key = keys[start : start + _ROWS_AT_ONCE]
        term, rows = other[: len(key)], slice(first + start, first + start + len(key))
        key[:] = 0
        for word in np.flatnonzero(table.masks):
            np.bitwise_and(entries.words[rows, word], table.masks[word], out=term)
            term *= table.factors[word]
            key += term
        key &= _HIGH
        key |= np.add(steps[: len(key)], np.uint64((first + start) << 2), out=term)
        key |= entries.kinds[rows]
    return keys


def _compare_buckets(keys: UInt64Array, entries: Entries, clusters: _Clusters, max_distance: int) -> tuple[int, int]:
    """Compare every entry with the next one of its bucket, then with the one after that, and so on.

    Returns:
        The number of candidates that were compared, and of those that were left in overfull buckets.
    """
    seen, compared, skipped, offset = 0, 0, 0, 1
    places = _agreeing_with_next(keys)
    while len(places):
        if seen + len(places) > _COMPARISONS_PER_ENTRY * len(keys):
            return compared, skipped + _num_candidates(_bucket_sizes(keys, places))
        for start in range(0, len(places), _ROWS_AT_ONCE):
            some = places[start : start + _ROWS_AT_ONCE]
            ones, others = keys.take(some), keys.take(some + offset)
            is_candidate = (ones & others & _KIND) == 0
            left, right = _row(ones[is_candidate]), _row(others[is_candidate])
            clusters.add(*_close(left, right, entries, clusters.labels, max_distance))
            compared += len(left)
        seen += len(places)
        offset += 1
        places = places[: np.searchsorted(places, len(keys) - offset)]
        places = places[(keys[places] ^ keys[places + offset]) <= _LOW]
        if offset == 2 and len(places):
            places, skipped = _useful_places(keys, places, clusters)
    return compared, skipped


def _useful_places(keys: UInt64Array, places: IntArray, clusters: _Clusters) -> tuple[IntArray, int]:
    """Drop the buckets whose entries are in one cluster already, and the overfull ones.

    Args:
        places: all places from which two steps do not leave the bucket.

    Returns:
        The places that remain, and the number of candidates in the overfull buckets.
    """
    sizes = _bucket_sizes(keys, places)
    if _num_candidates(sizes) > len(keys):
        clusters.merge(least=1)  # takes less time than the candidates
    first, second, third = (clusters.labels.take(_row(keys.take(places + step))) for step in range(3))
    is_mixed = np.logical_or.reduceat((first != second) | (first != third), np.cumsum(sizes) - sizes)
    is_overfull = sizes > _MOST_IN_BUCKET
    useful: IntArray = places[np.repeat(is_mixed & ~is_overfull, sizes)]
    return useful, _num_candidates(sizes[is_mixed & is_overfull])


def _bucket_sizes(keys: UInt64Array, places: IntArray) -> IntArray:
    """The number of places in each bucket, in the order of the buckets."""
    starts = np.flatnonzero(np.r_[True, (keys[places[1:]] ^ keys[places[:-1]]) > _LOW])
    sizes: IntArray = np.diff(np.r_[starts, len(places)])
    return sizes


def _num_candidates(sizes: IntArray) -> int:
    """The number of candidates left in buckets of these sizes: n at this step, n - 1 at the next, and so on."""
    return int((sizes * (sizes + 1) // 2).sum())


def _agreeing_with_next(keys: UInt64Array) -> IntArray:
    """The places whose next entry is in the same bucket."""
    found = []
    for start in range(0, len(keys) - 1, _ROWS_AT_ONCE):
        some = keys[start : start + _ROWS_AT_ONCE + 1]
        found.append(np.flatnonzero((some[1:] ^ some[:-1]) <= _LOW) + start)
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _row(keys: UInt64Array) -> IntArray:
    rows: IntArray = ((keys & _LOW) >> np.uint64(2)).view(np.int64)
    return rows


def _close(
    left: IntArray, right: IntArray, entries: Entries, labels: Int32Array, max_distance: int
) -> tuple[IntArray, IntArray]:
    """Filter candidate pairs: those within the distance that are not in one cluster yet."""
    words, others = entries.words.take(left, axis=0), entries.words.take(right, axis=0)
    # Half of the bits separates unrelated hashes.
    first_half = differing(words[:, :2], others[:, :2])
    maybe = np.flatnonzero(first_half <= max_distance)
    distance = first_half[maybe] + differing(words[maybe, 2:], others[maybe, 2:])
    near = maybe[distance <= max_distance]
    left, right = left[near], right[near]
    is_new = labels[left] != labels[right]
    return left[is_new], right[is_new]


def _compare_all(entries: Entries, clusters: _Clusters, max_distance: int) -> int:
    """Compare all entries with all; return the number of comparisons. For sets so small that it takes seconds."""
    compared, rows = 0, np.arange(len(entries.words), dtype=np.int64)
    for row in range(entries.num_new):
        others = rows[row + 1 :][(entries.kinds[row + 1 :] & entries.kinds[row]) == 0]
        clusters.add(*_close(np.full(len(others), row), others, entries, clusters.labels, max_distance))
        compared += len(others)
    return compared
