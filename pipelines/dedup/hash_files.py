"""The distinct hashes of a search, in files that every task reads; during the search a row number is a picture."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from pipelines.arrays import BoolArray, IntArray, UInt8Array, UInt64Array
from pipelines.dedup.exact import IS_OLD
from pipelines.dedup.hamming import distances
from pipelines.dedup.hash_search import FLIPPED, OLD, WORDS, Entries
from pipelines.dedup.search_plan import SAMPLE_HASHES, HashSample, measure_distances
from pipelines.manifest import File
from pipelines.parquet import in_files, write_files
from pipelines.records import DISTANCE, HASH, HASH_FLIPPED, IMAGE_ID, LEFT, PAIRS, RIGHT

_SCHEMA = pa.schema([(IMAGE_ID, pa.string()), (HASH, pa.binary()), (HASH_FLIPPED, pa.binary()), (IS_OLD, pa.bool_())])
_ROWS_PER_FILE = 250_000
_ROWS_PER_GROUP = 32_768


@dataclass(frozen=True)
class HashFiles:
    """Files of the columns above; rows are numbered through all files in order."""

    folder: Path
    files: tuple[File, ...]

    @property
    def num_hashes(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def paths(self) -> list[Path]:
        return [self.folder / file.path for file in self.files]

    @property
    def first_rows(self) -> list[int]:
        """The row number of each file's first row."""
        return [sum(file.rows for file in self.files[:place]) for place in range(len(self.files))]


def write_hashes(images: DataFrame, folder: Path, *, num_rows: int) -> HashFiles:
    """Write pictures and their hashes in an order that depends on their `image_id` alone.

    Args:
        images: `image_id, hash, hash_flipped, is_old`; the hashes are distinct.
        num_rows: their approximate number, which sets the number of files.
    """
    placed = in_files(images, num_rows=num_rows, key=[IMAGE_ID], rows_per_file=_ROWS_PER_FILE)
    return HashFiles(folder, tuple(write_files(placed, folder, schema=_SCHEMA, rows_per_group=_ROWS_PER_GROUP)))


def measure_sample(hashes: HashFiles) -> HashSample:
    """Distances between the first pictures of each file, and the numbers of new and old pictures."""
    each = -(-SAMPLE_HASHES // max(1, len(hashes.files)))
    first = [next(pq.ParquetFile(path).iter_batches(each, columns=[HASH, HASH_FLIPPED])) for path in hashes.paths]
    plain, flipped = (
        np.concatenate([np.empty((0, WORDS), np.uint64), *(words_of(batch.column(name)) for batch in first)])
        for name in (HASH, HASH_FLIPPED)
    )
    num_old = sum(pc.sum(pq.read_table(path, columns=[IS_OLD])[IS_OLD]).as_py() for path in hashes.paths)
    return HashSample(hashes.num_hashes - num_old, num_old, measure_distances(plain, flipped))


# A worker that does several tasks reads the files once. Their digests are part of the key: another search may write to
# the same folder.
@functools.lru_cache(maxsize=1)
def read_entries(hashes: HashFiles, *, file: int | None = None) -> Entries:
    """The entries of a search, from all files or from one."""
    chosen = range(len(hashes.files)) if file is None else [file]
    count = sum(hashes.files[place].rows for place in chosen)
    words = np.empty((2 * count, WORDS), dtype=np.uint64)
    is_old, stop = np.empty(count, dtype=bool), 0
    for place in chosen:
        table = pq.read_table(hashes.paths[place], columns=[HASH, HASH_FLIPPED, IS_OLD])
        start, stop = stop, stop + len(table)
        words[start:stop] = words_of(table[HASH])
        words[count + start : count + stop] = words_of(table[HASH_FLIPPED])
        is_old[start:stop] = table[IS_OLD].to_numpy()
    first = 0 if file is None else hashes.first_rows[file]
    return arrange(words, np.tile(np.arange(first, first + count), 2), kinds_of(is_old))


def kinds_of(is_old: BoolArray) -> UInt8Array:
    """The kinds (2N,) of N plain hashes and then of the N mirrored ones."""
    plain = np.where(is_old, OLD, np.uint8(0))
    return np.concatenate([plain, plain | FLIPPED])


def arrange(words: UInt64Array, pictures: IntArray, kinds: UInt8Array) -> Entries:
    """Sort entries as `search_hashes` expects them: by kind, then by picture."""
    num_new = int((kinds < OLD).sum())
    places = kinds.astype(np.int64) << 48 | pictures
    if not (places[1:] > places[:-1]).all():
        order = np.argsort(places)
        words, pictures, kinds = words[order], pictures[order], kinds[order]
    return Entries(words, pictures, kinds, num_new)


def words_of(hashes: pa.ChunkedArray | pa.Array) -> UInt64Array:
    """The words (N, 4) of N binary values of 32 bytes."""
    chunks = hashes.chunks if isinstance(hashes, pa.ChunkedArray) else [hashes]
    raw = [
        np.frombuffer(chunk.buffers()[2], dtype=np.uint64)[WORDS * chunk.offset :][: WORDS * len(chunk)]
        for chunk in chunks
        if len(chunk)
    ]
    return np.concatenate(raw).reshape(-1, WORDS) if raw else np.empty((0, WORDS), dtype=np.uint64)


def name_pairs(hashes: HashFiles, pairs: IntArray) -> Iterator[pa.RecordBatch]:
    """Turn pairs of row numbers (P, 2) into `records.PAIRS`; the distance is the smallest of plain and mirrored."""
    rows, ends = np.unique(pairs, return_inverse=True)
    left, right = ends.reshape(-1, 2).T
    named = _take_rows(hashes, rows)
    plain, flipped = words_of(named[HASH]), words_of(named[HASH_FLIPPED])
    nearest = np.minimum.reduce(
        [
            distances(plain[left], plain[right]),
            distances(plain[left], flipped[right]),
            distances(flipped[left], plain[right]),
        ]
    )
    ids = named[IMAGE_ID].combine_chunks()
    lefts, rights = ids.take(pa.array(left)), ids.take(pa.array(right))
    is_ordered = pc.less(lefts, rights)
    columns = {
        LEFT: pc.if_else(is_ordered, lefts, rights),
        RIGHT: pc.if_else(is_ordered, rights, lefts),
        DISTANCE: pa.array(nearest, pa.int32()),
    }
    yield from pa.table(columns, schema=PAIRS).to_batches(max_chunksize=_ROWS_PER_GROUP)


def _take_rows(hashes: HashFiles, rows: IntArray) -> pa.Table:
    """Take rows by number, ascending, reading only the row groups that hold any."""
    found: list[pa.Table] = [_SCHEMA.empty_table()]
    for path, start in zip(hashes.paths, hashes.first_rows, strict=True):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start
            if len(inside):
                found.append(file.read_row_group(group).take(pa.array(inside)))
            start = stop
    return pa.concat_tables(found)
