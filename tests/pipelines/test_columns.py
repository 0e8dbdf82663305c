"""The table of dataset columns: a column that a test registers is written, described and read back by others."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import SparkSession

from pipelines.columns import (
    COLUMNS,
    DATASET,
    STANDARD,
    DatasetColumn,
    dataset_columns,
    dataset_schema,
    extra_columns,
)
from pipelines.dataset_card import CARD_NAME, dataset_card
from pipelines.parquet import write_files
from pipelines.settings import ShardSettings, UserError
from pipelines.shard import place_rows, shard


def _corners(boxes: pa.Array) -> pa.Array:
    """Left, top, width, height -> left, top, right, bottom; empty where there is no face."""
    found = [box or [] for box in boxes.to_pylist()]
    return pa.array([[*box[:2], *(a + b for a, b in zip(box[:2], box[2:], strict=True))] for box in found])


BOXES = DatasetColumn(
    "boxes", pa.list_(pa.float32()), "float32", "faces", ("face_box",), _corners, shape=(4,), geometry="boxes"
)
POINTS = DatasetColumn(
    "points", pa.list_(pa.float32(), 2), "float32", "a point", ("point",), shape=(2,), geometry="points"
)
SHARPNESS = DatasetColumn("sharpness", pa.float32(), "float32", "variance of the Laplacian", ("blur",))
RECORD_ROWS = "image_id string, source string, image binary, face_box array<float>, point array<float>, blur float"
COUNT = 9


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for column in (BOXES, POINTS, SHARPNESS):
        monkeypatch.setitem(COLUMNS, column.name, column)


def image_of(number: int) -> bytes:
    return bytes([number]) * 9


def id_of(number: int) -> str:
    return hashlib.sha256(image_of(number)).hexdigest()


def box_of(number: int) -> list[float] | None:
    return None if number % 3 == 0 else [float(number), 2.0, 30.5, 8.0]


@pytest.fixture
def dataset(registered: None, spark: SparkSession, tmp_path: Path) -> Path:
    names = ["boxes", "points", "sharpness"]
    found = [
        (id_of(number), f"p/{number}", image_of(number), box_of(number), [float(number), 0.5], number / 2)
        for number in range(COUNT)
    ]
    kept = [(id_of(number), f"p/{number}", "kept", number, "train") for number in range(COUNT)]
    decisions = spark.createDataFrame(kept, "image_id string, source string, status string, label long, split string")
    placed = place_rows(decisions, ShardSettings(rows_per_file=5, columns=names), seed=0)
    columns = dataset_columns(names)
    rows = shard(spark.createDataFrame(found, RECORD_ROWS), placed, columns=columns)
    files = write_files(rows, tmp_path, schema=dataset_schema(columns), rows_per_group=3)
    assert len(files) == 2
    (tmp_path / CARD_NAME).write_text(dataset_card("0", {"train": {"rows": COUNT, "classes": COUNT}}, columns))
    return tmp_path


@pytest.mark.spark
def test_columns_that_are_asked_for_are_written_after_the_standard_ones(dataset: Path) -> None:
    tables = [pq.read_table(path) for path in sorted((dataset / "train").iterdir())]
    assert tables[0].schema.types[4:] == [column.type for column in (BOXES, POINTS, SHARPNESS)]
    assert tables[0].column_names == [*STANDARD, "boxes", "points", "sharpness"]
    rows = pa.concat_tables(tables).to_pylist()
    assert len(rows) == COUNT
    for row in rows:
        number = row["label"]
        box = box_of(number)
        assert row["boxes"] == ([] if box is None else [box[0], 2.0, box[0] + 30.5, 10.0])
        assert row["points"] == [number, 0.5]
        assert row["sharpness"] == number / 2


@pytest.mark.spark
def test_hugging_face_finds_the_columns_as_the_card_describes_them(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import List, Value, load_dataset

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    loaded = load_dataset(str(dataset))["train"]
    assert loaded.features["boxes"] == List(Value("float32"))
    assert loaded.features["points"] == List(Value("float32"), length=2)
    assert loaded.features["sharpness"] == Value("float32")
    assert sorted(loaded["sharpness"]) == (np.arange(COUNT) / 2).tolist()
    text = (dataset / CARD_NAME).read_text()
    assert yaml.safe_load(text.split("---\n")[1])["dataset_info"]["features"][4]["name"] == "boxes"
    assert "| `boxes` | faces |" in text


def test_without_being_asked_for_no_column_changes_the_schema(registered: None) -> None:
    assert dataset_schema(dataset_columns()).serialize() == DATASET.serialize()
    assert DATASET.names == list(STANDARD) == ["image_id", "label", "image", "digest"]
    features = json.loads(DATASET.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["digest"] == {"dtype": "int64", "_type": "Value"}


def test_a_column_that_is_asked_for_twice_or_is_standard_is_there_once(registered: None) -> None:
    assert extra_columns(["boxes", "label", "boxes"]) == (BOXES,)


def test_a_column_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(UserError, match=r"^'boxes' is no column of a dataset; there are image_id, label, image, dig"):
        dataset_columns(["boxes"])


def test_positions_in_pictures_that_are_aligned_are_refused(registered: None) -> None:
    dataset_columns(["sharpness"], are_aligned=True)
    with pytest.raises(UserError, match=r"^shard\.columns=\['boxes'\].*; set shard\.align_px=null, or drop the column"):
        dataset_columns(["boxes"], are_aligned=True)
