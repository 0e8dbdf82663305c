"""Columns beside the standard ones become extras; a column that a test registers goes from disk into the batches."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines import manifest
from pipelines.columns import COLUMNS, DatasetColumn, dataset_columns, dataset_schema
from pipelines.settings import UserError
from training.feed.batch import Batch, Ragged
from training.feed.columns import collate, read_cells
from training.feed.feed import Feed
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings
from training.needs import Needs

SIDE_PX = 16
LAYOUT = [[5, 4], [6]]
NUM_ROWS = 15
BOXES = DatasetColumn("boxes", pa.list_(pa.float32()), "float32", "", ("b",), shape=(4,), geometry="boxes")
EYES = DatasetColumn(
    "eyes", pa.list_(pa.float32(), 4), "float32", "", ("e",), shape=(2, 2), geometry="points", mirror=(1, 0)
)
AGE = DatasetColumn("age", pa.int64(), "int64", "", ("age",))
NOTE = DatasetColumn("note", pa.string(), "string", "", ("note",))
NEEDS = Needs(columns=("boxes", "eyes", "age"))


def boxes_of(row: int) -> list[float]:
    """None, one or two boxes, inside a picture of 16 x 16."""
    return [value for number in range(row % 3) for value in (number + 1.0, 2.0, number + 6.0, 3.0 + row / 2)]


def eyes_of(row: int) -> list[float] | None:
    return None if row == 7 else [3.0, 4.0, 11.0, 4.0 + row / 8]


@pytest.fixture
def dataset(write_dataset: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The rows of `write_dataset` with three more columns; a row's label is its number."""
    for column in (BOXES, EYES, AGE, NOTE):
        monkeypatch.setitem(COLUMNS, column.name, column)
    made = write_dataset(LAYOUT)
    schema = dataset_schema(dataset_columns(NEEDS.columns))
    files = []
    for entry, groups in zip(manifest.read(made.folder).files, LAYOUT, strict=True):
        path = made.folder / entry.path
        table = pq.read_table(path)
        rows = table["label"].to_pylist()
        columns = [*table.columns, [boxes_of(row) for row in rows], [eyes_of(row) for row in rows], rows]
        with pq.ParquetWriter(path, schema) as writer:
            begin = 0
            for count in groups:
                writer.write_table(pa.table(columns, schema=schema).slice(begin, count))
                begin += count
        files.append(manifest.describe(made.folder, path, rows=entry.rows, row_groups=entry.row_groups))
    found = manifest.read(made.folder)
    manifest.write(made.folder, found.model_copy(update={"files": tuple(files)}))
    return made


def feed(folder: Path, needs: Needs = NEEDS, **options: Any) -> Feed:
    given = {"decode": DecodeSettings(size_px=SIDE_PX), "augment": AugmentSettings(flip=0.0)} | options
    return Feed(folder, "train", FeedSettings(**given), seed=0, global_batch_size=4, rank=0, size=1, needs=needs)


def extras_of(batch: Batch) -> list[tuple[int, list[float], list[float], int]]:
    """Row, boxes, eyes and age of each picture."""
    boxes, eyes, age = (batch.extras[name] for name in NEEDS.columns)
    assert isinstance(boxes, Ragged)
    assert eyes.shape == (len(batch.labels), 2, 2)
    return [
        (row, boxes.of(place).reshape(-1).tolist(), eyes[place].reshape(-1).tolist(), int(age[place]))
        for place, row in enumerate(batch.labels.tolist())
    ]


@pytest.mark.parametrize("keep", ["none", "encoded", "decoded"])
def test_extras_belong_to_the_pictures_of_the_batch(dataset: Any, keep: str) -> None:
    one, seen = feed(dataset.folder, keep=keep, threads=2), set()
    for epoch in range(2):
        for batch in (*one.epoch(epoch), *one.sweep()):
            for row, boxes, eyes, age in extras_of(batch):
                assert boxes == boxes_of(row)
                assert eyes == pytest.approx(eyes_of(row) or [np.nan] * 4, nan_ok=True)
                assert age == row
                seen.add(row)
    assert seen == set(range(NUM_ROWS))


def test_positions_of_a_mirrored_picture_are_mirrored_and_left_stays_left(dataset: Any) -> None:
    for batch in feed(dataset.folder, augment=AugmentSettings(flip=1.0)).epoch(0):
        for row, boxes, eyes, _ in extras_of(batch):
            left, top, right, bottom = np.reshape(boxes_of(row), (-1, 4)).T
            assert np.allclose(np.reshape(boxes, (-1, 4)).T, (16 - right, top, 16 - left, bottom))
            if row != 7:
                (left_x, left_y), (right_x, right_y) = np.reshape(eyes_of(row) or [], (2, 2))
                assert eyes == pytest.approx([15 - right_x, right_y, 15 - left_x, left_y])


def test_positions_follow_a_random_crop(dataset: Any) -> None:
    """A crop enlarges: boxes grow by as much as the eyes move apart."""
    scales = set()
    for batch in feed(dataset.folder, augment=AugmentSettings(flip=0.0, crop_area=(0.2, 0.5))).epoch(0):
        for row, boxes, eyes, _ in extras_of(batch):
            if row == 7 or not boxes:
                continue
            scale = (eyes[2] - eyes[0]) / 8
            assert boxes[2] - boxes[0] == pytest.approx(5 * scale, rel=1e-5)
            scales.add(round(scale, 3))
    assert min(scales) > 1.05
    assert len(scales) > 2


def test_pictures_are_the_same_with_and_without_extras(dataset: Any) -> None:
    everything = AugmentSettings(crop_area=(0.3, 1.0), brightness=0.3, blur=0.3, erase=0.3)
    plain = feed(dataset.folder, Needs(), augment=everything).epoch(1)
    for expected, batch in zip(plain, feed(dataset.folder, augment=everything).epoch(1), strict=True):
        assert expected.extras == {}
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.labels, expected.labels)


def test_a_bad_row_brings_the_extras_of_the_one_in_its_place(dataset: Any) -> None:
    path = dataset.folder / "train" / "00001.parquet"
    table = pq.read_table(path)
    damaged = table["image"].to_pylist()
    damaged[2] = damaged[2][:50] + b"?" + damaged[2][51:]
    pq.write_table(table.set_column(2, table.schema.field(2), [damaged]), path)
    found = manifest.read(dataset.folder)
    entry = manifest.describe(dataset.folder, path, rows=6, row_groups=found.files[1].row_groups)
    manifest.write(dataset.folder, found.model_copy(update={"files": (found.files[0], entry)}))
    rows = [one for batch in feed(dataset.folder, max_bad_rows=1).sweep() for one in extras_of(batch)]
    assert [row for row, *_ in rows] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 12, 13, 14]
    assert all(boxes == boxes_of(row) and age == row for row, boxes, _, age in rows)


def test_only_the_columns_that_are_asked_for_are_read(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []
    original = pq.ParquetFile.read_row_group

    def noting(self: Any, number: int, columns: Sequence[str], **more: Any) -> Any:
        read.append(list(columns))
        return original(self, number, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noting)
    list(feed(dataset.folder, Needs()).sweep())
    list(feed(dataset.folder, Needs(columns=("age",))).sweep())
    standard = ["image_id", "label", "image", "digest"]
    assert read == [standard] * 3 + [[*standard, "age"]] * 3


def test_row_groups_with_other_columns_are_cached_apart(dataset: Any, tmp_path: Path) -> None:
    for needs in (Needs(), NEEDS, Needs(), NEEDS):
        batches = list(feed(dataset.folder, needs, cache_dir=tmp_path / "cache").sweep())
        assert set(batches[0].extras) == set(needs.columns)
    assert len(list((tmp_path / "cache").glob("*.rowgroup"))) == 6


def test_a_dataset_without_the_column_is_one_clear_error(dataset: Any) -> None:
    with pytest.raises(UserError, match=r"00000\.parquet has no column 'note'; set shard\.columns=\[note\]$"):
        list(feed(dataset.folder, Needs(columns=("note",))).sweep())


def test_a_slice_of_a_column_is_read_as_it_is_alone() -> None:
    eyes = pa.array([[1, 2, 3, 4], None, [5, 6, 7, 8], [9, 9, 9, 9]], EYES.type)
    cells = read_cells(EYES, eyes.slice(1, 2))
    assert np.isnan(cells.of(0)).all()
    assert cells.of(1).tolist() == [[[5, 6], [7, 8]]]
    boxes = pa.array([[1, 2, 3, 4], None, [], [1, 1, 1, 1, 2, 2, 2, 2]], BOXES.type)
    cells = read_cells(BOXES, boxes.slice(1, 3))
    assert [len(cells.of(row)) for row in range(3)] == [0, 0, 2]
    assert cells.of(2).tolist() == [[1, 1, 1, 1], [2, 2, 2, 2]]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (BOXES, [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0]], r"^column boxes has a list of 2 numbers, not of \(4,\)"),
        (AGE, [3, None], "^column age holds integers that are null"),
        (NOTE, ["a"], "^column note holds string, and only numbers and lists of them can be fed"),
    ],
)
def test_what_no_tensor_can_hold_is_refused(column: DatasetColumn, values: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_cells(column, pa.array(values, column.type))


def test_pictures_without_any_item_make_an_empty_list() -> None:
    nothing = np.zeros((0, 4), np.float32)
    boxes = collate(BOXES, [nothing, nothing], np.zeros((2, 2, 3)))
    assert isinstance(boxes, Ragged)
    assert boxes.values.shape == (0, 4)
    assert boxes.offsets.tolist() == [0, 0, 0]
