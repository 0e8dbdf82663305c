"""Pairs of near-duplicates: candidates from hash bands, each verified by its true Hamming distance before it counts."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from pydantic import Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.dedup.bands import BandPlan
from pipelines.records import DECODE_OK, DISTANCE, HASH, HASH_FLIPPED, IMAGE_ID, LEFT, RIGHT
from pipelines.settings import Settings

_WORDS = tuple(f"word{index}" for index in range(4))  # a 256-bit hash as four 64-bit integers
_BUCKETS_SCHEMA = ", ".join(
    ["image_id string", "is_flipped boolean", "band int", "bucket bigint", *(f"{word} bigint" for word in _WORDS)]
)


class DedupSettings(Settings):
    """When two pictures are the same one."""

    # 31 of 256 bits is PDQ's threshold; 16 is the strict preset. The bound is where chance meetings begin.
    max_distance: int = Field(default=31, ge=0, le=48)
    # Flat pictures all look alike to the hash; below this they are only compared by their bytes.
    min_hash_quality: float = Field(default=50.0, ge=0, le=100)


def comparable(records: DataFrame, settings: DedupSettings) -> DataFrame:
    """The pictures whose hashes say something: distinct `image_id` with `hash` and `hash_flipped`."""
    is_good = (F.col("decode") == DECODE_OK) & (F.col("hash_quality") >= settings.min_hash_quality)
    # Equal bytes have equal hashes, so whole rows are distinct where their ids are.
    return records.where(is_good).select(IMAGE_ID, HASH, HASH_FLIPPED).distinct()


def near_pairs(images: DataFrame, plan: BandPlan, settings: DedupSettings) -> DataFrame:
    """Verified pairs of near-duplicates, the mirror image of either included.

    Args:
        images: distinct `image_id` with `hash` and `hash_flipped`, of good quality only.

    Returns:
        `records.PAIRS`, left < right, every pair once.
    """
    buckets = images.select(IMAGE_ID, HASH, HASH_FLIPPED).mapInArrow(_bucketer(plan), _BUCKETS_SCHEMA)
    left = buckets.where(~F.col("is_flipped")).alias("left")
    right = buckets.alias("right")
    meets = (
        (F.col("left.band") == F.col("right.band"))
        & (F.col("left.bucket") == F.col("right.bucket"))
        # Plain pairs are met from both sides, so one side is enough; a mirrored pair may meet from one side only.
        & F.when(F.col("right.is_flipped"), F.col("left.image_id") != F.col("right.image_id")).otherwise(
            F.col("left.image_id") < F.col("right.image_id")
        )
        & (_distance() <= settings.max_distance)
    )
    candidates = left.join(right, on=meets, how="inner").select(
        F.least("left.image_id", "right.image_id").alias(LEFT),
        F.greatest("left.image_id", "right.image_id").alias(RIGHT),
        _distance().alias(DISTANCE),
    )
    return candidates.groupBy(LEFT, RIGHT).agg(F.min(DISTANCE).alias(DISTANCE))


def _distance() -> Column:
    words = [F.bit_count(F.col(f"left.{word}").bitwiseXOR(F.col(f"right.{word}"))) for word in _WORDS]
    return words[0] + words[1] + words[2] + words[3]


def _bucketer(plan: BandPlan) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def bucket(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for column, is_flipped in ((HASH, False), (HASH_FLIPPED, True)):
                yield _bucket_rows(batch.column(IMAGE_ID), batch.column(column), plan, is_flipped=is_flipped)

    return bucket


def _bucket_rows(image_ids: pa.Array, hashes: pa.Array, plan: BandPlan, *, is_flipped: bool) -> pa.RecordBatch:
    """One row per hash and band."""
    packed = np.frombuffer(b"".join(hashes.to_pylist()), dtype=np.uint8).reshape(len(hashes), -1)
    # (hash, band, byte of the band) -> the band's value
    parts = packed.reshape(len(hashes), plan.bands, plan.bits // 8).astype(np.int64)
    values = sum(parts[:, :, place] << (8 * place) for place in range(plan.bits // 8))
    words = packed.view("<i8")
    rows = np.repeat(np.arange(len(hashes)), plan.bands)
    return pa.RecordBatch.from_pydict(
        {
            "image_id": image_ids.take(pa.array(rows)),
            "is_flipped": pa.array(np.full(len(rows), is_flipped)),
            "band": pa.array(np.tile(np.arange(plan.bands, dtype=np.int32), len(hashes))),
            "bucket": pa.array(np.asarray(values).reshape(-1)),
            **{word: pa.array(words[rows, index]) for index, word in enumerate(_WORDS)},
        }
    )
