"""Rows damaged on disk: borne by the stated rule and counted, the same for any threads, or the end of the run."""

import io
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines import manifest, records
from pipelines.columns import DATASET
from pipelines.settings import UserError
from training.feed.batch import Batch
from training.feed.feed import Feed
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings

SIDE_PX = 16
Write = Callable[..., Any]


def feed(folder: Path, *, batch: int = 4, **settings: Any) -> Feed:
    options = FeedSettings(decode=DecodeSettings(size_px=SIDE_PX), shuffle_row_groups=12, **settings)
    return Feed(folder, "train", options, seed=0, global_batch_size=batch, rank=0, size=1)


def flip_bits(dataset: Any, rows: Sequence[int]) -> None:
    """One bit of the picture of each of these rows, counted over the dataset."""
    for path in (dataset.folder / "train").iterdir():
        content = path.read_bytes()
        for row in rows:
            image = dataset.images[dataset.image_ids[row]]
            # Everywhere, since the smallest and the largest value of a page stand in its statistics too.
            content = content.replace(image, image[:99] + bytes([image[99] ^ 16]) + image[100:])
        path.write_bytes(content)


def make_undecodable(dataset: Any, rows: Sequence[int]) -> None:
    """Write bytes that are no picture, with their right digest, in place of the pictures of the only shard."""
    path = dataset.folder / "train" / "00000.parquet"
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(group).to_pylist() for group in range(file.num_row_groups)]
    wanted = {dataset.image_ids[row] for row in rows}
    with pq.ParquetWriter(path, DATASET, compression="none", use_dictionary=False) as writer:
        for group in groups:
            for row in group:
                if row[records.IMAGE_ID] in wanted:
                    row[records.IMAGE] = b"\xff\xd8\xff no picture"
                    row[records.DIGEST] = zlib.crc32(row[records.IMAGE])
            writer.write_table(pa.Table.from_pylist(group, schema=DATASET))
    found = manifest.read(dataset.folder)
    entry = manifest.describe(dataset.folder, path, rows=found.files[0].rows, row_groups=found.files[0].row_groups)
    manifest.write(dataset.folder, found.model_copy(update={"files": (entry,)}))


DAMAGE = {"flipped bits": flip_bits, "undecodable bytes": make_undecodable}


def ids_of(batches: list[Batch]) -> list[str]:
    return [image_id for batch in batches for image_id in batch.image_ids]


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_next_good_row_of_the_row_group_stands_in(write_dataset: Write, damage: str) -> None:
    dataset = write_dataset([[6, 5]])
    DAMAGE[damage](dataset, [1, 4, 5, 9, 10])
    one = feed(dataset.folder, max_bad_rows=5)
    batches = list(one.sweep())
    shown = [0, 2, 2, 3, 0, 0, 6, 7, 8, 6, 6]  # of rows 0 to 5, and of 6 to 10
    assert ids_of(batches) == [dataset.image_ids[row] for row in shown]
    assert one.bad_rows == 5
    for batch in batches:
        for image, image_id, label in zip(batch.images, batch.image_ids, batch.labels.tolist(), strict=True):
            expected = np.asarray(Image.open(io.BytesIO(dataset.images[image_id]))).astype(int)
            assert np.abs(image.permute(1, 2, 0).numpy() - expected).max() <= 2
            assert label == dataset.labels[image_id]


def test_the_same_rows_stand_in_for_any_number_of_threads(write_dataset: Write) -> None:
    dataset = write_dataset([[9, 8], [7, 12], [1, 30]], side_px=24)
    flip_bits(dataset, [0, 3, 4, 18, 19, 20, 40, 60])
    augment = AugmentSettings(crop_area=(0.3, 1.0), brightness=0.3, erase=0.3)
    runs = []
    for threads in (1, 2, 4):
        one = feed(dataset.folder, batch=12, max_bad_rows=8, threads=threads, reader_threads=threads, augment=augment)
        counts = [(ids, pixels, one.bad_rows) for ids, pixels in _content(one)]
        runs.append(counts)
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][-1][-1] > 0


def _content(one: Feed) -> Any:
    for batch in one.epoch(0):
        yield tuple(batch.image_ids), batch.images.contiguous().numpy().tobytes()


def test_one_bad_row_more_than_the_budget_ends_the_run_at_the_same_step_for_any_threads(write_dataset: Write) -> None:
    dataset = write_dataset([[30]])
    flip_bits(dataset, [3, 11, 22])
    ends = []
    for threads in (1, 3):
        one = feed(dataset.folder, max_bad_rows=2, threads=threads)
        batches = one.sweep()
        ends.append(ids_of([next(batches) for _ in range(5)]))
        with pytest.raises(UserError, match=rf"{dataset.image_ids[22]}\) .*feed\.max_bad_rows=2; .*or raise it"):
            next(batches)
    assert ends[0] == ends[1]
    assert len(ends[0]) == 20


def test_none_is_borne_unless_asked_for(write_dataset: Write) -> None:
    dataset = write_dataset([[8]])
    flip_bits(dataset, [5])
    with pytest.raises(UserError, match=r"row 5 of row group 0 .*its digest differs.*feed\.max_bad_rows=0"):
        list(feed(dataset.folder).sweep())


def test_each_pass_counts_anew_and_a_row_counts_once(write_dataset: Write) -> None:
    dataset = write_dataset([[3]])
    flip_bits(dataset, [1])
    one = feed(dataset.folder, batch=3, max_bad_rows=1)
    for epoch in range(3):
        assert len(ids_of(list(one.epoch(epoch)))) == 3
        assert one.bad_rows == 1


def test_bad_rows_are_logged_with_their_shard_and_image_id(
    write_dataset: Write, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = write_dataset([[4], [4]])
    flip_bits(dataset, [6])
    with caplog.at_level(logging.WARNING):
        list(feed(dataset.folder, max_bad_rows=1).sweep())
    (line,) = (record.getMessage() for record in caplog.records)
    assert "00001.parquet: row 2 of row group 0" in line
    assert dataset.image_ids[6] in line


def test_a_row_group_without_a_good_row_ends_the_run(write_dataset: Write) -> None:
    dataset = write_dataset([[3, 3]])
    flip_bits(dataset, [3, 4, 5])
    with pytest.raises(UserError, match=rf"row 0 of row group 1 \(image_id {dataset.image_ids[3]}\) is not what"):
        list(feed(dataset.folder, max_bad_rows=100).sweep())
