"""pipelines/dedup/near, hashes and tasks: the pairs are those that comparing everything finds, however it is done."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.dedup.near import comparable, near_pairs
from pipelines.dedup.settings import DedupSettings

pytestmark = pytest.mark.spark

PAIR = tuple[str, str, int]
SCHEMA = "image_id string, pixel_digest binary, hash binary, hash_flipped binary, is_old boolean"


def names_of(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def planted(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random hashes; the last 80 resemble the first 80, at up to 39 bits, every other one the mirror image."""
    rng = np.random.default_rng(1)
    plain, flipped = rng.integers(0, 256, (2, count, 32), dtype=np.uint8)
    for index in range(80):
        bits = np.unpackbits(plain[index])
        bits[rng.choice(256, index // 2, replace=False)] ^= 1
        (plain if index % 2 else flipped)[count - 1 - index] = np.packbits(bits)
    return plain, flipped


def as_images(spark: SparkSession, plain: np.ndarray, flipped: np.ndarray, num_old: int = 0) -> DataFrame:
    rows = zip(names_of(len(plain)), plain, flipped, range(len(plain)), strict=True)
    return spark.createDataFrame(
        [(name, name.encode(), bytes(one), bytes(other), number < num_old) for name, one, other, number in rows], SCHEMA
    )


def exhaustive(plain: np.ndarray, flipped: np.ndarray, max_distance: int, num_old: int = 0) -> set[PAIR]:
    names, count = names_of(len(plain)), len(plain)
    bits, mirrored = (np.unpackbits(hashes, axis=1).astype(np.float32) for hashes in (plain, flipped))
    across = bits @ (1 - mirrored).T + (1 - bits) @ mirrored.T
    nearest = np.minimum(bits @ (1 - bits).T + (1 - bits) @ bits.T, np.minimum(across, across.T)).astype(int)
    close = [(i, j) for i, j in np.argwhere(nearest <= max_distance) if i < j and j >= num_old and i < count]
    return {(min(names[i], names[j]), max(names[i], names[j]), nearest[i, j]) for i, j in close}


def found_pairs(images: DataFrame, settings: DedupSettings, scratch: Path) -> set[PAIR]:
    rows = near_pairs(images, settings, scratch).rows.collect()
    assert len(set(rows)) == len(rows)
    return {tuple(row) for row in rows}


def test_few_pictures_are_compared_in_full(spark: SparkSession, tmp_path: Path) -> None:
    plain, flipped = planted(300)
    images = as_images(spark, plain, flipped)
    pairs = near_pairs(images, DedupSettings(max_distance=31), tmp_path)
    assert {tuple(row) for row in pairs.rows.collect()} == exhaustive(plain, flipped, 31)
    assert pairs.rows.count() == 64
    assert pairs.summary() == "all compared with all"
    assert pairs.facts() == {
        "distinct_hashes": 299,  # one is planted at no distance
        "table_bits": 0,
        "tables": 1,
        "expected_recall": 1.0,
        "expected_candidates": round(1.5 * 299**2),
        "compared_candidates": 299 * 298 // 2 + 299 * 299,
        "skipped_candidates": 0,
    }


def test_many_pictures_are_searched_by_tables(spark: SparkSession, tmp_path: Path) -> None:
    plain, flipped = planted(9000)
    pairs = near_pairs(as_images(spark, plain, flipped), DedupSettings(min_recall=0.9999), tmp_path)
    assert {tuple(row) for row in pairs.rows.collect()} == exhaustive(plain, flipped, 31)
    tables = r"\d+ tables of \d+ bits, expected recall (0\.9999|1\.0000), candidates expected [\d,]+, compared [\d,]+, "
    assert re.match(tables, pairs.summary())


def test_blocks_of_more_pictures_than_a_task_holds_find_the_same(spark: SparkSession, tmp_path: Path) -> None:
    plain, flipped = planted(1000)
    settings = DedupSettings(max_hashes_per_task=300, min_recall=0.9999)
    images = as_images(spark, plain, flipped)
    pairs = near_pairs(images, settings, tmp_path / "a")
    assert pairs.plan.prefix_bits == 3
    found = {tuple(row) for row in pairs.rows.collect()}
    assert found == exhaustive(plain, flipped, 31)
    assert found_pairs(images.repartition(7), settings, tmp_path / "b") == found


@pytest.mark.parametrize("max_hashes_per_task", [1 << 20, 300])
def test_pairs_of_two_old_pictures_are_not_among_them(
    spark: SparkSession, tmp_path: Path, max_hashes_per_task: int
) -> None:
    plain, flipped = planted(1000)
    # Every other of the first pictures is old, and so are many of those that resemble none.
    order = np.r_[np.arange(0, 80, 2), np.arange(80, 960), np.arange(1, 80, 2), np.arange(960, 1000)]
    plain, flipped = plain[order], flipped[order]
    settings = DedupSettings(max_hashes_per_task=max_hashes_per_task, min_recall=0.9999)
    expected = exhaustive(plain, flipped, 31, num_old=920)
    assert found_pairs(as_images(spark, plain, flipped, num_old=920), settings, tmp_path) == expected
    assert 30 < len(expected) < len(exhaustive(plain, flipped, 31)) == 64


def test_equal_hashes_hang_together_by_one_picture_which_alone_is_searched(spark: SparkSession, tmp_path: Path) -> None:
    plain, flipped = planted(300)
    plain[100:120] = plain[3]
    found = found_pairs(as_images(spark, plain, flipped), DedupSettings(), tmp_path)
    names = names_of(300)
    equal = {names[3], *names[100:120]}
    first, copy = min(equal), names[296]
    stars = {(first, name, 0) for name in equal - {first}}
    assert {pair for pair in found if equal & set(pair[:2])} == stars | {(min(first, copy), max(first, copy), 1)}


def test_flat_pictures_are_compared_by_their_pixels_only(spark: SparkSession, tmp_path: Path) -> None:
    rows = [
        ("a", "ok", b"p1", bytes(32), 80.0),
        ("a", "ok", b"p1", bytes(32), 80.0),
        ("b", "ok", b"p2", bytes(31) + b"\1", 50.0),
        ("c", "ok", b"p3", bytes(32), 49.9),
        ("d", "ok", b"p4", bytes(32), 49.9),
        ("e", "ok", b"p4", bytes(32), 49.9),
        ("f", "truncated", None, None, None),
    ]
    records = spark.createDataFrame(
        [(*row[:4], row[3], row[4]) for row in rows],
        "image_id string, decode string, pixel_digest binary, hash binary, hash_flipped binary, hash_quality float",
    )
    settings = DedupSettings(min_hash_quality=50)
    assert found_pairs(comparable(records, settings), settings, tmp_path) == {("a", "b", 1), ("d", "e", 0)}


def test_a_delivery_is_held_against_an_earlier_one(spark: SparkSession, tmp_path: Path) -> None:
    def records(*rows: tuple[str, bytes, bytes]) -> DataFrame:
        return spark.createDataFrame(
            [(name, "ok", digest, value, bytes(range(32)), 90.0) for name, digest, value in rows],
            "image_id string, decode string, pixel_digest binary, hash binary, hash_flipped binary, hash_quality float",
        )

    earlier = records(("a", b"p1", bytes(32)), ("b", b"p2", bytes(31) + b"\1"), ("x", b"p5", b"\xff" * 32))
    later = records(("c", b"p3", bytes(31) + b"\3"), ("a", b"p1", bytes(32)), ("d", b"p5", b"\xff" * 32))
    settings = DedupSettings()
    images = comparable(earlier, settings, is_old=True).union(comparable(later, settings))
    found = found_pairs(images, settings, tmp_path)
    assert found == {("a", "c", 2), ("b", "c", 1), ("d", "x", 0)}


def test_no_picture_at_all_has_no_pairs(spark: SparkSession, tmp_path: Path) -> None:
    assert found_pairs(spark.createDataFrame([], SCHEMA), DedupSettings(), tmp_path) == set()
