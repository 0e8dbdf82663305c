"""Pairs of near-duplicates: equal hashes are joined first, then the distinct ones are searched and named."""

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

_PAIRS_SCHEMA = "left string, right string, distance int"


@dataclass(frozen=True)
class NearPairs:
    """The pairs, and how they were looked for."""

    rows: DataFrame  # records.PAIRS, each pair once; reads the scratch folder
    num_images: int  # decoded
    num_hashes: int  # distinct ones
    plan: SearchPlan
    num_compared: int
    num_skipped: int  # candidates in overfull buckets, at most

    def summary(self) -> str:
        """The plan and what came of it, in half a line."""
        if not self.plan.bits:
            return "each compared with each"
        tables, bits = self.plan.tables * self.plan.groups, self.plan.bits + self.plan.prefix_bits
        return (
            f"{tables} tables of {bits} bits, expected recall {self.plan.recall:.4f}, candidates expected "
            f"{self.plan.candidates:,.0f}, compared {self.num_compared:,}, passed over {self.num_skipped:,}"
        )

    def facts(self) -> dict[str, float]:
        """What the manifest says of the search."""
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
    """The decoded pictures as they are compared; tables of several deliveries can be put together by `union`.

    Args:
        is_old: an earlier delivery, within which no pairs are looked for.

    Returns:
        `image_id, pixel_digest, hash, hash_flipped, is_old`, the hashes null where they say too little.
    """
    says_much = F.col("hash_quality") >= settings.min_hash_quality
    hashes = [F.when(says_much, F.col(name)).alias(name) for name in (HASH, HASH_FLIPPED)]
    decoded = records.where(F.col("decode") == DECODE_OK)
    return decoded.select(IMAGE_ID, PIXEL_DIGEST, *hashes, F.lit(is_old).alias(IS_OLD))


def near_pairs(images: DataFrame, settings: DedupSettings, scratch: Path) -> NearPairs:
    """Search, and return pairs that are yet to be named.

    Args:
        images: as `comparable` makes them; equal rows count once.
        scratch: a folder of one's own that every executor can write to; to be removed when the pairs are written.
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
    found = spark.read.parquet(str(scratch / "found"))
    told = found.agg(F.sum("compared"), F.sum("skipped")).collect()[0]
    # Tasks find the same pairs; to one place they come once, and are named there.
    together = found.where(F.col("left").isNotNull()).select("left", "right").repartition("left")
    near = together.mapInArrow(_namer(hashes), _PAIRS_SCHEMA)
    exact = star_pairs(images, HASH).union(star_pairs(images, PIXEL_DIGEST)).distinct()
    # Equal pixels have equal hashes, and of these one is searched: no pair is both.
    return NearPairs(near.union(exact), num_images, hashes.num_hashes, plan, told[0] or 0, told[1] or 0)


def _namer(hashes: HashFiles) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def name(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pairs = [np.stack([column.to_numpy() for column in batch.columns], axis=1) for batch in batches]
        if pairs:
            yield from name_pairs(hashes, np.unique(np.concatenate(pairs), axis=0))

    return name
