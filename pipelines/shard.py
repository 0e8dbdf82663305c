"""Records and decisions to a dataset: kept pictures in a seeded pseudo-random order, in shards of equal size.

Which shard and which place a picture gets follows from its `image_id`, the seed and the number of kept pictures, so
the same input gives the same shards byte for byte, whatever cluster writes them.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Literal

import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.parquet import FILE
from pipelines.rank import with_rank
from pipelines.records import DATASET, DIGEST, IMAGE, IMAGE_ID, KEPT, LABEL, SOURCE, SPLIT
from pipelines.settings import Settings

_SHARD_ROWS = "image_id string, label long, image binary, digest long, file string"


class ShardSettings(Settings):
    """How a dataset lies on disk."""

    layout: Literal["instance"] = "instance"  # rows in pseudo-random order of image_id
    rows_per_file: int = Field(default=16384, ge=1, le=10_000_000)
    rows_per_group: int = Field(default=512, ge=1, le=1_000_000)  # the unit of reading and of shuffling


def place_rows(decisions: DataFrame, settings: ShardSettings, *, seed: int) -> DataFrame:
    """Give every kept row its file and its place there: image_id, source, label, split, file, place."""
    kept = decisions.where(F.col("status") == KEPT).select(IMAGE_ID, SOURCE, LABEL, SPLIT)
    sizes = {row[SPLIT]: row["count"] for row in kept.groupBy(SPLIT).count().collect()}
    sides = [_place(kept.where(F.col(SPLIT) == split), split, size, settings, seed) for split, size in sizes.items()]
    placed = sides[0]
    for side in sides[1:]:
        placed = placed.unionByName(side)
    return placed


def _place(rows: DataFrame, split: str, size: int, settings: ShardSettings, seed: int) -> DataFrame:
    num_files = -(-size // settings.rows_per_file)
    ranked = with_rank(rows, IMAGE_ID, seed=seed, name="place")
    # Equal files to within one row: a short last file would make uneven work for whoever reads it.
    index = F.floor(F.col("place") * num_files / size)
    return ranked.withColumn(FILE, F.concat(F.lit(f"{split}/"), F.lpad(index.cast("string"), 6, "0")))


def shard(records: DataFrame, placed: DataFrame) -> DataFrame:
    """The rows of the dataset, each file's in one partition and in order: `records.DATASET` and `file`.

    Args:
        records: image_id, source, image.
        placed: as `place_rows` makes it.
    """
    joined = records.join(placed, on=[IMAGE_ID, SOURCE], how="inner")
    num_files = placed.select(FILE).distinct().count()
    in_order = joined.repartition(num_files, FILE).sortWithinPartitions(FILE, "place")
    return in_order.select(IMAGE_ID, LABEL, IMAGE, FILE).mapInArrow(_add_digests, _SHARD_ROWS)


def _add_digests(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        digests = [zlib.crc32(image.as_buffer()) for image in batch.column(IMAGE)]
        columns = {name: batch.column(name) for name in (IMAGE_ID, LABEL, IMAGE, FILE)}
        columns[DIGEST] = pa.array(digests, pa.int64())
        yield pa.RecordBatch.from_pydict({name: columns[name] for name in [*DATASET.names, FILE]})
