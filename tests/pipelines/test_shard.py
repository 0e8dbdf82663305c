"""Shards: the bytes as found unless aligning is asked for, the digest of what is stored, the same bytes every time."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession

from pipelines.align import TEMPLATE, aligner_of
from pipelines.columns import DATASET
from pipelines.faces import FaceDetector
from pipelines.ingest import ingest, survey
from pipelines.parquet import write_files
from pipelines.pixels import decode
from pipelines.settings import FaceSettings, PixelSettings, ShardSettings
from pipelines.shard import count_alignment, index_labels, place_rows, shard
from pipelines.sources.settings import FolderSettings

LIMITS = PixelSettings()
ALIGNED = ShardSettings(rows_per_file=7, rows_per_group=3, align_px=48, align_format="png")

RECORD_ROWS = "image_id string, source string, image binary, face_box array<float>, face_landmarks array<float>"
DECISION_ROWS = "image_id string, source string, status string, label long, split string"

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(draw, to_jpeg: Callable[..., bytes]) -> Rows:
    """Twenty pictures: a third with landmarks, a third with a box, a third with neither."""
    rows = []
    for number in range(20):
        image = to_jpeg(draw(number))
        box = None if number % 3 == 2 else [10.0 + number, 20.0, 30.0, 36.0]
        points = (TEMPLATE * 0.6 + number).ravel().tolist() if number % 3 == 0 else None
        rows.append(_row(image, f"p/{number}", face_box=box, face_landmarks=points))
    return rows


def _row(image: bytes, source: str, **face: Any) -> dict[str, Any]:
    nobody = {"face_box": None, "face_landmarks": None}
    return {"image_id": hashlib.sha256(image).hexdigest(), "source": source, "image": image, **nobody, **face}


def _decisions(spark: SparkSession, found: Rows) -> DataFrame:
    rows = [(row["image_id"], row["source"], "kept", 0, "train") for row in found]
    return spark.createDataFrame([*rows, ("0" * 64, "p/gone", "rejected", None, None)], DECISION_ROWS)


def _dataset(spark: SparkSession, found: Rows, folder: Path, settings: ShardSettings, *, partitions: int = 2) -> Rows:
    records = spark.createDataFrame(found, RECORD_ROWS).repartition(partitions)
    placed = place_rows(_decisions(spark, found).repartition(partitions), settings, seed=3)
    rows = shard(records, placed, aligner_of(settings, LIMITS))
    files = write_files(rows, folder, schema=DATASET, rows_per_group=settings.rows_per_group)
    return pa.concat_tables([pq.read_table(folder / file.path) for file in files]).to_pylist()


@pytest.mark.spark
def test_without_aligning_the_bytes_are_those_found_whatever_they_are(spark: SparkSession, tmp_path: Path) -> None:
    odd = [b"\xff\xd8\xff", b"", b"\0" * 300, bytes(range(256)) * 40, "no image: ü".encode()]
    rows = _dataset(spark, [_row(image, f"p/{i}") for i, image in enumerate(odd)], tmp_path, ShardSettings())
    assert sorted(row["image"] for row in rows) == sorted(odd)
    for row in rows:
        assert hashlib.sha256(row["image"]).hexdigest() == row["image_id"]
        assert zlib.crc32(row["image"]) == row["digest"]


@pytest.mark.spark
def test_a_picture_that_a_source_holds_twice_under_one_name_is_one_row(spark: SparkSession, found: Rows) -> None:
    settings = ShardSettings(rows_per_file=7)
    placed = place_rows(_decisions(spark, found), ALIGNED, seed=3)
    once, twice = (spark.createDataFrame(found * times, RECORD_ROWS).repartition(3) for times in (1, 2))
    expected = sorted(map(tuple, shard(once, placed, aligner_of(settings, LIMITS)).collect()))
    assert sorted(map(tuple, shard(twice, placed, aligner_of(settings, LIMITS)).collect())) == expected
    assert count_alignment(twice, placed) == count_alignment(once, placed)


@pytest.mark.parametrize("settings", [ShardSettings(rows_per_file=7), ALIGNED], ids=["as found", "aligned"])
def test_a_picture_that_is_not_the_one_taken_in_is_no_row(
    spark: SparkSession, tmp_path: Path, found: Rows, settings: ShardSettings
) -> None:
    victim = found[6]
    image = bytearray(victim["image"])
    image[-5] ^= 1
    rows = [{**row, "image": bytes(image)} if row is victim else row for row in found]
    with pytest.raises(
        PythonException, match=rf"UserError: the picture with image_id {victim['image_id']} was altered"
    ):
        _dataset(spark, rows, tmp_path, settings)


def test_aligned_pictures_are_stored_with_their_own_digest_under_the_id_of_what_was_found(
    spark: SparkSession, tmp_path: Path, found: Rows
) -> None:
    rows = _dataset(spark, found, tmp_path, ALIGNED)
    align = aligner_of(ALIGNED, LIMITS)
    assert align is not None
    expected = {row["image_id"]: align(row["image"], row["face_box"], row["face_landmarks"]) for row in found}
    assert {row["image_id"]: row["image"] for row in rows} == expected
    assert len(rows) == len(set(expected.values())) == 20
    for row in rows:
        assert zlib.crc32(row["image"]) == row["digest"]
        assert decode(row["image"], LIMITS).rgb.shape == (48, 48, 3)


@pytest.mark.spark
def test_aligning_changes_neither_the_order_nor_the_labels(spark: SparkSession, tmp_path: Path, found: Rows) -> None:
    plain = _dataset(spark, found, tmp_path / "plain", ALIGNED.model_copy(update={"align_px": None}))
    aligned = _dataset(spark, found, tmp_path / "aligned", ALIGNED)
    assert [(row["image_id"], row["label"]) for row in plain] == [(row["image_id"], row["label"]) for row in aligned]


@pytest.mark.spark
@pytest.mark.parametrize("align_format", ["jpeg", "png"])
def test_any_partitioning_gives_the_same_aligned_bytes(
    spark: SparkSession, tmp_path: Path, found: Rows, align_format: str
) -> None:
    settings = ShardSettings.model_validate({**ALIGNED.model_dump(), "align_format": align_format})
    for partitions in (1, 5):
        _dataset(spark, found, tmp_path / str(partitions), settings, partitions=partitions)
    names = sorted(path.name for path in (tmp_path / "1/train").iterdir())
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "1/train" / name).read_bytes() == (tmp_path / "5/train" / name).read_bytes()


@pytest.mark.spark
def test_what_pictures_are_aligned_by_is_counted_over_the_kept_ones(spark: SparkSession, found: Rows) -> None:
    gone = _row(b"gone", "p/gone", image_id="0" * 64)
    records = spark.createDataFrame([*found, gone], RECORD_ROWS)
    placed = place_rows(_decisions(spark, found), ALIGNED, seed=3)
    assert count_alignment(records, placed) == {"landmarks": 7, "box": 7, "centre": 6}
    nobody = spark.createDataFrame([_row(row["image"], row["source"]) for row in found], RECORD_ROWS)
    assert count_alignment(nobody, placed) == {"landmarks": 0, "box": 0, "centre": 20}


@pytest.mark.spark
def test_faces_found_when_taken_in_are_what_the_dataset_shows(
    spark: SparkSession, tmp_path: Path, draw_face, to_jpeg: Callable[..., bytes], write_images
) -> None:
    files = {f"a/{seed}.jpg": to_jpeg(draw_face(seed)) for seed in (0, 2, 3, 5, 6)}
    path = write_images(tmp_path / "faces", files)
    source = FolderSettings(path=str(path), chunk_images=2)
    detector = FaceDetector(FaceSettings(detector="haar"))
    chunks = survey(spark, source).chunks
    written = ingest(spark, chunks, tmp_path / "records", source=source, pixels=LIMITS, faces=detector)
    records = spark.read.parquet(*(str(tmp_path / "records" / file.path) for file in written))
    rows = {row["source"].removeprefix(f"{path}/"): row for row in records.collect()}
    for name, image in files.items():
        face = detector.detect(decode(image, LIMITS).rgb).main
        assert face is not None
        assert (rows[name]["num_faces"], rows[name]["face_box"]) == (1, list(face.box))
    decisions = _decisions(spark, [row.asDict() for row in rows.values()])
    shards = shard(records, place_rows(decisions, ALIGNED, seed=0), aligner_of(ALIGNED, LIMITS)).collect()
    align = aligner_of(ALIGNED, LIMITS)
    assert align is not None
    wanted = Counter(align(files[name], rows[name]["face_box"], None) for name in files)
    assert Counter(bytes(row["image"]) for row in shards) == wanted


def test_the_choice_of_the_encoding_is_checked() -> None:
    assert aligner_of(ShardSettings(), LIMITS) is None
    with pytest.raises(ValidationError, match="align_format"):
        ShardSettings.model_validate({"align_format": "webp"})


def _picture(label: int, number: int) -> bytes:
    return f"{label}/{number}".encode()


@pytest.fixture(scope="module")
def people() -> list[tuple[str, int]]:
    """Pictures of nine identities, of which one has more than a row group takes: (image_id, label).

    The bytes of number 3 of label 1 are `_picture(1, 3)`.
    """
    sizes = [3, 1, 2, 11, 2, 2, 1, 4, 2]
    return [
        (hashlib.sha256(_picture(label, number)).hexdigest(), label)
        for label, size in enumerate(sizes)
        for number in range(size)
    ]


def _identities(spark: SparkSession, people: list[tuple[str, int]], folder: Path, *, partitions: int) -> DataFrame:
    settings = ShardSettings(layout="identity", rows_per_file=12, rows_per_group=5)
    decided = spark.createDataFrame(
        [(image_id, image_id, "kept", label, "train") for image_id, label in people], DECISION_ROWS
    )
    sizes = Counter(label for _, label in people)
    pictures = [_picture(label, number) for label, size in sizes.items() for number in range(size)]
    found = [_row(picture, hashlib.sha256(picture).hexdigest()) for picture in pictures]
    records = spark.createDataFrame(found, RECORD_ROWS)
    placed = place_rows(decided.repartition(partitions), settings, seed=3)
    rows = shard(records.repartition(partitions), placed)
    write_files(rows, folder, schema=DATASET, rows_per_group=settings.rows_per_group)
    return placed


@pytest.mark.spark
def test_every_identity_lies_whole_in_the_row_group_that_the_index_says(
    spark: SparkSession, tmp_path: Path, people: list[tuple[str, int]]
) -> None:
    placed = _identities(spark, people, tmp_path, partitions=4)
    groups = []
    for path in sorted((tmp_path / "train").iterdir()):
        file = pq.ParquetFile(path)
        groups += [file.read_row_group(number).to_pylist() for number in range(file.num_row_groups)]
    assert sorted((row["image_id"], row["label"]) for group in groups for row in group) == sorted(people)
    sizes = Counter(label for _, label in people)
    index = {row["label"]: row for row in index_labels(placed).collect()}
    for label, size in sizes.items():
        first = index[label]["first_row"]
        found = groups[index[label]["row_group"]][first : first + size]
        assert [row["label"] for row in found] == [label] * size
    # The largest identity begins in the span of a group and ends it; the others stay near what was asked for.
    assert [len(group) for group in groups] == [6, 11, 4, 5, 2]


@pytest.mark.spark
def test_identities_lie_the_same_whatever_the_partitioning(
    spark: SparkSession, tmp_path: Path, people: list[tuple[str, int]]
) -> None:
    for partitions in (1, 5):
        _identities(spark, people, tmp_path / str(partitions), partitions=partitions)
    names = sorted(path.name for path in (tmp_path / "1/train").iterdir())
    assert len(names) > 1
    for name in names:
        assert (tmp_path / "1/train" / name).read_bytes() == (tmp_path / "5/train" / name).read_bytes()


@pytest.mark.spark
def test_the_index_of_mixed_identities_says_nothing(spark: SparkSession, found: Rows) -> None:
    placed = place_rows(_decisions(spark, found), ShardSettings(rows_per_file=7), seed=3)
    assert [tuple(row) for row in index_labels(placed).collect()] == [("train", 0, None, None)]
