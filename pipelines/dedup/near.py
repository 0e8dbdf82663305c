"""All pairs of duplicates: equal pixels and hashes are paired first, then the distinct hashes are searched."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.dedup.exact import IS_OLD, first_of_equal, star_pairs
from pipelines.dedup.hash_files import HashFiles, measure_sample, name_pairs, write_hashes
from pipelines.dedup.search_plan import SearchPlan, plan_search
from pipelines.dedup.search_tasks import search_blocks, search_groups
from pipelines.dedup.settings import DedupSettings
from pipelines.records import DECODE_OK, HASH, HASH_FLIPPED, IMAGE_ID, PIXEL_DIGEST
from pipelines.tables.frames import read_parquet

_PAIRS_SCHEMA = "left string, right string, distance int"


@dataclass(frozen=True)
class NearPairs:
    """The pairs, and the figures of the search."""

    rows: DataFrame  # records.PAIRS, each pair once; reads the scratch folder
    num_images: int  # decoded
    num_hashes: int  # distinct ones
    plan: SearchPlan
    num_compared: int
    num_skipped: int  # upper bound of the candidates in overfull buckets

    def summary(self) -> str:
        """The plan and its outcome, in half a line."""
        if not self.plan.bits:
            return "all compared with all"
        tables, bits = self.plan.tables * self.plan.groups, self.plan.bits + self.plan.prefix_bits
        return (
            f"{tables} tables of {bits} bits, expected recall {self.plan.recall:.4f}, candidates expected "
            f"{self.plan.candidates:,.0f}, compared {self.num_compared:,}, skipped {self.num_skipped:,}"
        )

    def facts(self) -> dict[str, float]:
        """The figures of the search for the manifest."""
        return {
            "distinct_hashes": self.num_hashes,
            "table_bits": self.plan.bits + self.plan.prefix_bits,
            "tables": self.plan.tables * self.plan.groups,
            "expected_recall": round(self.plan.recall, 6),
            "expected_candidates": round(self.plan.candidates),
            "compared_candidates": self.num_compared,
            "skipped_candidates": self.num_skipped,
        }


def comparable(records: DataFrame, settings: DedupSettings, *, is_old: bool = False) -> DataFrame:
    """The columns by which decoded pictures are compared; tables of several deliveries are combined by `union`.

    Args:
        is_old: the records are of an earlier delivery, within which pairs are not searched.

    Returns:
        `image_id, pixel_digest, hash, hash_flipped, is_old`; the hashes are null where the picture is too flat.
    """
    is_reliable = F.col("hash_quality") >= settings.min_hash_quality
    hashes = [F.when(is_reliable, F.col(name)).alias(name) for name in (HASH, HASH_FLIPPED)]
    decoded = records.where(F.col("decode") == DECODE_OK)
    return decoded.select(IMAGE_ID, PIXEL_DIGEST, *hashes, F.lit(is_old).alias(IS_OLD))


def near_pairs(images: DataFrame, settings: DedupSettings, scratch: Path) -> NearPairs:
    """Search for pairs; the returned table is lazy and names them when it is written.

    Args:
        images: as `comparable` returns them; equal rows count once.
        scratch: a folder for this call alone that every executor can write to; the caller removes it after writing.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    spark = images.sparkSession
    distinct = first_of_equal(images, HASH).drop(PIXEL_DIGEST)
    num_images = images.count()
    hashes = write_hashes(distinct, scratch / "hashes", num_rows=num_images)
    sample = measure_sample(hashes)
    plan = plan_search(sample, settings)
    found = (search_blocks if plan.prefix_bits else search_groups)(spark, hashes, plan, settings.max_distance)
    found.write.parquet(str(scratch / "found"))
    found = read_parquet(spark, scratch / "found")
    compared, skipped = found.agg(F.sum("compared"), F.sum("skipped")).collect()[0]
    # Several tasks may find a pair; grouped by its left end it is named once.
    together = found.where(F.col("left").isNotNull()).select("left", "right").repartition("left")
    near = together.mapInArrow(_namer(hashes), _PAIRS_SCHEMA)
    exact = star_pairs(images, HASH).union(star_pairs(images, PIXEL_DIGEST)).distinct()
    # Equal pixels have equal hashes, of which only one is searched, so no pair is in both tables.
    return NearPairs(near.union(exact), num_images, hashes.num_hashes, plan, compared or 0, skipped or 0)


def _namer(hashes: HashFiles) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def name(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pairs = [np.stack([column.to_numpy() for column in batch.columns], axis=1) for batch in batches]
        if pairs:
            yield from name_pairs(hashes, np.unique(np.concatenate(pairs), axis=0))

    return name
