"""pipelines/dedup/near: the pairs are those that comparing everything finds."""

import numpy as np
import pytest
from pyspark.sql import SparkSession

from pipelines.dedup.bands import plan_bands
from pipelines.dedup.near import DedupSettings, comparable, near_pairs

pytestmark = pytest.mark.spark


def test_pairs_equal_exhaustive_search(spark: SparkSession) -> None:
    rng = np.random.default_rng(1)
    plain = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    flipped = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    for index, distance in enumerate(range(0, 40, 2)):
        bits = np.unpackbits(plain[index])
        bits[rng.choice(256, distance, replace=False)] ^= 1
        # Every other copy is one of the mirror image.
        (plain if index % 2 else flipped)[59 - index] = np.packbits(bits)
    names = [f"id{index:02d}" for index in range(60)]
    images = spark.createDataFrame(
        [(n, bytes(p), bytes(f)) for n, p, f in zip(names, plain, flipped, strict=True)],
        "image_id string, hash binary, hash_flipped binary",
    )

    found = near_pairs(images, plan_bands(60, max_distance=31), DedupSettings(max_distance=31)).collect()

    unpacked, unpacked_flipped = (np.unpackbits(h, axis=1).astype(int) for h in (plain, flipped))
    expected = {}
    for left in range(60):
        for right in range(left + 1, 60):
            distance = min(
                int((unpacked[left] != unpacked[right]).sum()),
                int((unpacked_flipped[left] != unpacked[right]).sum()),
                int((unpacked[left] != unpacked_flipped[right]).sum()),
            )
            if distance <= 31:
                expected[names[left], names[right]] = distance
    assert {(row["left"], row["right"]): row["distance"] for row in found} == expected
    assert len(expected) == 16


def test_only_decoded_pictures_with_structure_are_compared_and_equal_bytes_once(spark: SparkSession) -> None:
    rows = [("a", "ok", 80.0), ("a", "ok", 80.0), ("b", "ok", 50.0), ("c", "ok", 49.9), ("d", "truncated", None)]
    records = spark.createDataFrame(
        [(name, decode, b"1", b"2", quality) for name, decode, quality in rows],
        "image_id string, decode string, hash binary, hash_flipped binary, hash_quality float",
    )
    found = comparable(records, DedupSettings(min_hash_quality=50)).collect()
    assert sorted(tuple(row) for row in found) == [("a", b"1", b"2"), ("b", b"1", b"2")]
