"""The hash search as tasks of Spark: one per group of tables, or per block of hashes where one task cannot hold all.

The pairs that a task finds depend on the plan and the hashes alone, so neither cores nor partitions change the result.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from pipelines.arrays import IntArray, UInt64Array
from pipelines.dedup.hash_files import HashFiles, arrange, read_entries
from pipelines.dedup.hash_search import WORDS, Entries, search_hashes
from pipelines.dedup.search_plan import SearchPlan, tables_of

# A row is a pair, or the numbers of candidates that one search compared and skipped.
_FOUND = pa.schema([(name, pa.int64()) for name in ("left", "right", "compared", "skipped")])
_WORDS = [f"word{index}" for index in range(WORDS)]
_BLOCKS = pa.schema([(name, pa.int64()) for name in ("block", "picture", "kind", *_WORDS)])
_ROWS_PER_BATCH = 65_536

Batches = Iterable[pa.RecordBatch]


def search_groups(spark: SparkSession, hashes: HashFiles, plan: SearchPlan, max_distance: int) -> DataFrame:
    """Search with one task per group of tables, which reads all hashes; rows of `left, right, compared, skipped`."""

    def work(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for group in batch.column(0).to_pylist():
                yield from _search(read_entries(hashes), group, plan, max_distance)

    return spark.range(0, plan.groups, 1, numPartitions=plan.groups).mapInArrow(work, _ddl(_FOUND))


def search_blocks(spark: SparkSession, hashes: HashFiles, plan: SearchPlan, max_distance: int) -> DataFrame:
    """The same for more hashes than a task can hold: a block has the hashes that agree in the prefix of one group."""

    def cut(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.column(0).to_pylist():
                yield from _cut(read_entries(hashes, file=file), plan)

    def work(batches: Batches) -> Iterator[pa.RecordBatch]:
        for block, entries in _gather(batches):
            yield from _search(entries, block >> plan.prefix_bits, plan, max_distance)

    num_files, num_blocks = len(hashes.files), plan.groups << plan.prefix_bits
    cut_up = spark.range(0, num_files, 1, numPartitions=num_files).mapInArrow(cut, _ddl(_BLOCKS))
    blocks = cut_up.repartition(num_blocks, "block").sortWithinPartitions("block")
    return blocks.mapInArrow(work, _ddl(_FOUND))


def _search(entries: Entries, group: int, plan: SearchPlan, max_distance: int) -> Iterator[pa.RecordBatch]:
    _, tables = tables_of(plan, group)
    found = search_hashes(entries, tables, max_distance=max_distance)
    yield _batch(_FOUND, [[None], [None], [found.num_compared], [found.num_skipped]])
    for start in range(0, len(found.pairs), _ROWS_PER_BATCH):
        left, right = found.pairs[start : start + _ROWS_PER_BATCH].T
        nothing = pa.nulls(len(left), pa.int64())
        yield _batch(_FOUND, [left, right, nothing, nothing])


def _cut(entries: Entries, plan: SearchPlan) -> Iterator[pa.RecordBatch]:
    """Yield every entry once per group, with the number of its block."""
    for group in range(plan.groups):
        prefix, _ = tables_of(plan, group)
        blocks = group << plan.prefix_bits | _values(entries.words, prefix)
        for start in range(0, len(blocks), _ROWS_PER_BATCH):
            rows = slice(start, start + _ROWS_PER_BATCH)
            words = [column.view(np.int64) for column in np.ascontiguousarray(entries.words[rows].T)]
            yield _batch(_BLOCKS, [blocks[rows], entries.pictures[rows], entries.kinds[rows], *words])


def _values(words: UInt64Array, bits: Sequence[int]) -> IntArray:
    """The bits at these positions as one number."""
    values = np.zeros(len(words), dtype=np.uint64)
    for place, bit in enumerate(bits):
        values |= (words[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)) << np.uint64(place)
    return values.view(np.int64)


def _gather(batches: Batches) -> Iterator[tuple[int, Entries]]:
    """The blocks of a partition that is sorted by block."""
    block = -1
    waiting: list[IntArray] = []
    for batch in batches:
        columns = np.stack([column.to_numpy() for column in batch.columns])
        cuts = np.flatnonzero(columns[0, 1:] != columns[0, :-1]) + 1
        for start, stop in pairwise([0, *cuts, batch.num_rows] if batch.num_rows else []):
            if waiting and columns[0, start] != block:
                yield block, _together(waiting)
                waiting = []
            block = int(columns[0, start])
            waiting.append(columns[1:, start:stop])
    if waiting:
        yield block, _together(waiting)


def _together(parts: Sequence[IntArray]) -> Entries:
    pictures, kinds, *words = np.concatenate(parts, axis=1)
    return arrange(np.stack(words, axis=1).view(np.uint64), pictures, kinds.astype(np.uint8))


def _batch(schema: pa.Schema, columns: Sequence[object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(column, pa.int64()) for column in columns], schema=schema)


def _ddl(schema: pa.Schema) -> str:
    return ", ".join(f"{name} bigint" for name in schema.names)
