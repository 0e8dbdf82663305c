"""The readers that our datasets promise to open in find what was written, pictures and all."""

import io
import runpy
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from pipelines.columns import DATASET, dataset_columns
from pipelines.dataset_card import CARD_NAME, dataset_card
from pipelines.parquet import FILE, write_runs

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "read_dataset.py"
NUM_ROWS = 7
SPLITS = {"train": {"rows": NUM_ROWS, "classes": 7}, "val": {"rows": NUM_ROWS, "classes": 7}}


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8))


def png(number: int) -> bytes:
    stream = io.BytesIO()
    picture(number).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of two files each, by the writer of the shard stage, beside what else lies there."""
    folder = tmp_path_factory.mktemp("a dataset")
    for split in SPLITS:
        images = [png(number) for number in range(NUM_ROWS)]
        table = pa.table(
            {
                "image_id": [f"{number:064x}" for number in range(NUM_ROWS)],
                "label": list(range(NUM_ROWS)),
                "image": images,
                "digest": [zlib.crc32(image) for image in images],
                FILE: [f"{split}/{number // 4:06d}" for number in range(NUM_ROWS)],
            }
        )
        assert len(list(write_runs(table.to_batches(), folder, schema=DATASET, rows_per_group=3))) == 2
    (folder / CARD_NAME).write_text(dataset_card("0123abcd", SPLITS, dataset_columns()))
    (folder / "manifest.json").write_text("{}")
    pa.parquet.write_table(pa.table({"split": ["train"]}), folder / "labels.parquet")
    return folder


@pytest.fixture
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)


@pytest.mark.usefixtures("offline_cache", "spark")  # the example takes the session that is there
def test_every_reader_finds_the_rows_and_the_pictures(dataset: Path) -> None:
    example = runpy.run_path(str(EXAMPLE))
    found = {told.pop("reader"): told for told in example["read_with_each"](str(dataset))}
    assert set(found) == {"pyarrow", "pandas", "polars", "duckdb", "datasets", "pyspark"}
    mean = np.asarray(picture(0)).mean(axis=(0, 1)).round(3).tolist()
    for told in found.values():
        told.pop("version")
        assert told == {"rows": NUM_ROWS, "labels": 21, "size": (10, 12), "mean": mean}


@pytest.mark.usefixtures("offline_cache")
def test_hugging_face_finds_our_splits_and_no_other_file(dataset: Path) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(dataset))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": NUM_ROWS, "val": NUM_ROWS}
    assert loaded["val"].column_names == DATASET.names


def test_the_card_counts_the_splits_for_people() -> None:
    card = dataset_card("0123abcd", {"train": {"rows": 12_345, "classes": 67}}, dataset_columns())
    head, text = card.split("---\n")[1:]
    assert yaml.safe_load(head)["configs"][0]["data_files"] == [{"split": "train", "path": "train/*.parquet"}]
    assert "| train | 12,345 | 67 |" in text
