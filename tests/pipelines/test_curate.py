"""pipelines/ingest, curate, shard and parquet together: planted truth comes out, and the same bytes every time."""

import hashlib
import zlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.curate import CurateSettings, decide, in_files
from pipelines.ingest import ingest, survey
from pipelines.parquet import write_files
from pipelines.pixels import PixelSettings
from pipelines.records import DATASET, DECISIONS, IMAGE
from pipelines.shard import ShardSettings, place_rows, shard
from pipelines.sources import SourceSettings
from pipelines.split import SplitSettings

pytestmark = pytest.mark.spark

SETTINGS = CurateSettings(split=SplitSettings(val_fraction=0.2))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, draw, to_jpeg, write_images) -> Path:
    files = {f"p{person}/{photo}.jpg": to_jpeg(draw(10 * person + photo)) for person in range(6) for photo in range(4)}
    picture = draw(0)
    files["p0/copy.jpg"] = files["p0/0.jpg"]
    files["p0/again.jpg"] = to_jpeg(picture, 40)
    files["p0/small.jpg"] = to_jpeg(cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA))
    files["p0/mirror.jpg"] = to_jpeg(np.ascontiguousarray(picture[:, ::-1]))
    files["p1/cut.jpg"] = files["p1/0.jpg"][:500]
    files["p2/page.jpg"] = b"<html>not found</html>"
    files["p3/empty.jpg"] = b""
    files["p4/stolen.jpg"] = files["p5/0.jpg"]
    files["lonely/1.jpg"] = to_jpeg(draw(999))
    files["a.jpg"] = files["p2/1.jpg"]  # of nobody, and in front of the one that it is a copy of
    files["p2/flat.jpg"] = to_jpeg(np.full((90, 90, 3), 128, dtype=np.uint8))
    return write_images(tmp_path_factory.mktemp("source") / "faces", files)


def _records(spark: SparkSession, source: Path, out: Path) -> DataFrame:
    settings = SourceSettings(kind="folder", path=str(source), chunk_images=5)
    files = ingest(spark, survey(spark, settings).chunks, out, source=settings, pixels=PixelSettings())
    return spark.read.parquet(*(str(out / file.path) for file in files))


@pytest.fixture(scope="module")
def records(spark: SparkSession, source: Path, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    return _records(spark, source, tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def decisions(records: DataFrame) -> dict[str, dict[str, object]]:
    rows = decide(records.drop(IMAGE), SETTINGS, seed=0).decisions.collect()
    return {row["source"].split("/faces/")[1]: row.asDict() for row in rows}


def test_a_record_is_the_file_as_found(records: DataFrame, source: Path) -> None:
    rows = {row["source"]: row for row in records.select("source", "image", "image_id").collect()}
    paths = [path for path in source.rglob("*") if path.is_file()]
    assert len(rows) == len(paths)
    for path in paths:
        row = rows[str(path)]
        assert bytes(row["image"]) == path.read_bytes()
        assert row["image_id"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_planted_picture_gets_its_decision(decisions: dict[str, dict[str, object]]) -> None:
    outcome = {name: (row["status"], row["reason"]) for name, row in decisions.items()}
    expected = {
        "p0/copy.jpg": ("duplicate", "exact_duplicate"),
        "p0/again.jpg": ("duplicate", "near_duplicate"),
        "p0/small.jpg": ("duplicate", "near_duplicate"),
        "p0/mirror.jpg": ("duplicate", "near_duplicate"),
        "p1/cut.jpg": ("rejected", "truncated"),
        "p2/page.jpg": ("rejected", "not_an_image"),
        "p3/empty.jpg": ("rejected", "empty"),
        "p4/stolen.jpg": ("conflict", "two_identities"),
        "p5/0.jpg": ("conflict", "two_identities"),
        "lonely/1.jpg": ("rejected", "few_images"),
        "p2/flat.jpg": ("rejected", "flat"),
        "a.jpg": ("rejected", "no_identity"),
        "p2/1.jpg": ("kept", None),
    }
    group = ["p0/0.jpg", "p0/copy.jpg", "p0/again.jpg", "p0/mirror.jpg"]
    keepers = [name for name in group if outcome[name][0] == "kept"]
    assert len(keepers) == 1, "exactly one of the equals survives"
    for name in group:
        expected.pop(name, None)
        assert decisions[name]["group_id"] == decisions[keepers[0]]["image_id"]
    for name, wanted in expected.items():
        assert outcome[name] == wanted, name
    planted = set(expected) | set(group)
    assert all(outcome[name] == ("kept", None) for name in outcome if name not in planted)


def test_an_identity_stands_on_one_side_with_one_dense_label(decisions: dict[str, dict[str, object]]) -> None:
    kept = [row for row in decisions.values() if row["status"] == "kept"]
    sides = {row["identity"]: (row["split"], row["label"]) for row in kept}
    assert len({(row["identity"], row["split"], row["label"]) for row in kept}) == len(sides) == 6
    assert sorted(label for side, label in sides.values() if side == "train") == list(range(5))


def test_the_same_input_gives_the_same_bytes_for_any_partitioning(
    spark: SparkSession, source: Path, tmp_path: Path
) -> None:
    digests = []
    for partitions, name in ((1, "one"), (4, "four")):
        records = _records(spark, source, tmp_path / name / "records")
        spark.conf.set("spark.sql.shuffle.partitions", str(1 + partitions))
        decided = decide(records.drop(IMAGE).repartition(partitions), SETTINGS, seed=5).decisions
        folder = tmp_path / name / "decisions"
        written = write_files(in_files(decided, num_rows=40), folder, schema=DECISIONS, rows_per_group=100)
        table = spark.read.parquet(str(folder / "rows"))
        rows = shard(
            records.repartition(partitions), place_rows(table, ShardSettings(rows_per_file=7, rows_per_group=3), seed=5)
        )
        shards = write_files(rows, tmp_path / name / "dataset", schema=DATASET, rows_per_group=3)
        digests.append([(file.path, file.sha256, file.rows) for file in (*written, *shards)])
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    assert digests[0] == digests[1]


def test_shards_are_even_with_exact_row_groups_and_intact_bytes(
    spark: SparkSession, records: DataFrame, tmp_path: Path
) -> None:
    decided = decide(records.drop(IMAGE), SETTINGS, seed=0).decisions.cache()
    rows = shard(records, place_rows(decided, ShardSettings(rows_per_file=7, rows_per_group=3), seed=0))
    files = write_files(rows, tmp_path, schema=DATASET, rows_per_group=3)
    train = [file.rows for file in files if file.path.startswith("train/")]
    assert len(train) == 3
    assert max(train) - min(train) <= 1
    for file in files:
        assert [group.rows for group in file.row_groups[:-1]] == [3] * (len(file.row_groups) - 1)
        table = pq.read_table(tmp_path / file.path)
        assert table.schema.metadata[b"huggingface"]
        for row in table.to_pylist():
            assert hashlib.sha256(row["image"]).hexdigest() == row["image_id"]
            assert zlib.crc32(row["image"]) == row["digest"]
