"""The whole feed on real files: the same batches whatever the threads, ranks and interruptions, and no hang ever."""

import hashlib
import io
import re
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipelines import manifest
from pipelines.columns import DATASET
from pipelines.settings import UserError
from training.feed.batch import Batch
from training.feed.feed import Feed
from training.feed.paint import Painter
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings

SIDE_PX = 16
LAYOUTS = {
    "uneven shards": [[5, 1, 9], [4], [12, 1, 1, 7]],
    "one-row groups": [[1] * 13, [1] * 12],
    "one large group": [[37]],
}
EVERYTHING = AugmentSettings(
    crop_area=(0.3, 1.0), brightness=0.3, contrast=0.3, saturation=0.3, grey=0.2, blur=0.3, erase=0.3
)
Write = Callable[..., Any]


def feed(folder: Path, *, batch: int = 6, rank: int = 0, size: int = 1, seed: int = 0, **settings: Any) -> Feed:
    options = FeedSettings(**{"decode": DecodeSettings(size_px=SIDE_PX), "shuffle_row_groups": 12} | settings)
    return Feed(folder, "train", options, seed=seed, global_batch_size=batch, rank=rank, size=size)


def print_of(batches: Iterable[Batch]) -> list[tuple[str, list[int], list[str]]]:
    """All that a batch holds, in a form that compares."""
    return [
        (
            hashlib.sha256(batch.images.contiguous().numpy().tobytes()).hexdigest(),
            batch.labels.tolist(),
            batch.image_ids,
        )
        for batch in batches
    ]


def rows_of(batch: Batch) -> list[tuple[str, int, bytes]]:
    pixels = [image.contiguous().numpy().tobytes() for image in batch.images]
    return list(zip(batch.image_ids, batch.labels.tolist(), pixels, strict=True))


def ids_of(batches: Iterable[Batch]) -> list[str]:
    return [image_id for batch in batches for image_id in batch.image_ids]


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed-")]


def test_a_batch_is_what_the_models_expect(write_dataset: Write) -> None:
    dataset = write_dataset(LAYOUTS["uneven shards"])
    batch = next(iter(feed(dataset.folder).epoch(0)))
    assert batch.images.shape == (6, 3, SIDE_PX, SIDE_PX)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [dataset.labels[image_id] for image_id in batch.image_ids]


def test_pixels_belong_to_their_ids(write_dataset: Write) -> None:
    dataset = write_dataset(LAYOUTS["uneven shards"])
    for batch in feed(dataset.folder).sweep():
        for image, image_id in zip(batch.images, batch.image_ids, strict=True):
            expected = np.asarray(Image.open(io.BytesIO(dataset.images[image_id]))).astype(int)
            assert np.abs(image.permute(1, 2, 0).numpy() - expected).max() <= 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_change_nothing(write_dataset: Write, layout: str) -> None:
    folder = write_dataset(LAYOUTS[layout], side_px=20).folder
    runs = [
        print_of(feed(folder, batch=12, threads=threads, reader_threads=threads, augment=EVERYTHING).epoch(1))
        for threads in (1, 2, 4)
    ]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_epoch_lacks_only_the_last_part_of_a_batch_and_repeats_no_row(write_dataset: Write, layout: str) -> None:
    dataset = write_dataset(LAYOUTS[layout])
    one = feed(dataset.folder)
    dropped = []
    for epoch in range(4):
        counts = Counter(ids_of(one.epoch(epoch)))
        assert set(counts.values()) == {1}
        assert len(counts) == 6 * one.steps_per_epoch == len(dataset.image_ids) // 6 * 6
        dropped.append(set(dataset.image_ids) - set(counts))
    assert len(set(map(frozenset, dropped))) > 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_interrupted_epoch_goes_on_bit_by_bit(write_dataset: Write, layout: str) -> None:
    one = feed(write_dataset(LAYOUTS[layout]).folder)
    whole = print_of(one.epoch(3))
    for start in range(one.steps_per_epoch + 1):
        assert print_of(one.epoch(3, start_step=start)) == whole[start:]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_world_sizes_share_the_same_global_steps(write_dataset: Write, layout: str) -> None:
    folder = write_dataset(LAYOUTS[layout]).folder
    runs = []
    for size in (1, 2, 3, 4):
        ranks = [list(feed(folder, batch=12, rank=rank, size=size).epoch(0)) for rank in range(size)]
        assert {len(batch.image_ids) for batches in ranks for batch in batches} == {12 // size}
        runs.append([Counter(row for batch in step for row in rows_of(batch)) for step in zip(*ranks, strict=True)])
    assert runs[0] == runs[1] == runs[2] == runs[3]


@pytest.mark.parametrize("size", [1, 2])
def test_a_batch_larger_than_the_set_is_refused_and_one_as_large_shows_every_picture_once(
    write_dataset: Write, size: int
) -> None:
    dataset = write_dataset([[2], [2, 2]])
    for rank in range(size):
        with pytest.raises(
            UserError, match=r"^recipe.batch_size=8 takes more than the 6 .*'train'; set it to at most 6"
        ):
            next(iter(feed(dataset.folder, batch=8, rank=rank, size=size).epoch(0)))
    ranks = [feed(dataset.folder, batch=6, rank=rank, size=size) for rank in range(size)]
    assert sorted(image_id for one in ranks for image_id in ids_of(one.epoch(0))) == sorted(dataset.image_ids)
    # A sweep has no full batches to give.
    assert ids_of(feed(dataset.folder, batch=8).sweep()) == dataset.image_ids


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_sweep_shows_every_row_once_over_all_ranks(write_dataset: Write, size: int) -> None:
    dataset = write_dataset(LAYOUTS["uneven shards"])
    parts = [ids_of(feed(dataset.folder, batch=5 * size, rank=rank, size=size).sweep()) for rank in range(size)]
    assert [image_id for part in parts for image_id in part] == dataset.image_ids


def test_more_ranks_than_rows_leave_some_with_an_empty_sweep(write_dataset: Write) -> None:
    dataset = write_dataset([[3]])
    parts = [ids_of(feed(dataset.folder, batch=5, rank=rank, size=5).sweep()) for rank in range(5)]
    assert sorted(map(len, parts)) == [0, 0, 1, 1, 1]


def test_a_sweep_is_not_augmented(write_dataset: Write) -> None:
    folder = write_dataset(LAYOUTS["uneven shards"]).folder
    assert print_of(feed(folder, augment=EVERYTHING).sweep()) == print_of(feed(folder).sweep())


def test_epochs_and_seeds_differ_also_in_what_they_augment(write_dataset: Write) -> None:
    folder = write_dataset(LAYOUTS["one large group"]).folder
    runs = [print_of(feed(folder, seed=seed).epoch(epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert runs[0] != runs[1]
    assert runs[0] != runs[2]


def test_a_batch_is_not_overwritten_while_somebody_holds_it(write_dataset: Write) -> None:
    one = feed(write_dataset([[60]]).folder)
    held = list(one.epoch(0))
    views = [batch.images[2:4, 0] for batch in one.epoch(0)]
    assert print_of(held) == print_of(one.epoch(0))
    assert all((view == batch.images[2:4, 0]).all() for view, batch in zip(views, held, strict=True))


def test_a_batch_that_the_ranks_cannot_share_is_refused_with_both_numbers(write_dataset: Write) -> None:
    folder = write_dataset([[4]]).folder
    with pytest.raises(UserError, match="global_batch_size is 10, which 4 ranks cannot share"):
        feed(folder, batch=10, size=4)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(write_dataset: Write) -> None:
    folder = write_dataset([[4]]).folder
    with pytest.raises(UserError, match="no split 'val'; it has train"):
        Feed(folder, "val", FeedSettings(), seed=0, global_batch_size=1, rank=0, size=1)


def test_a_flipped_bit_is_reported_with_the_shards_name(write_dataset: Write) -> None:
    dataset = write_dataset(LAYOUTS["uneven shards"])
    shard = dataset.folder / "train" / "00002.parquet"
    content = bytearray(shard.read_bytes())
    content[content.index(dataset.images[dataset.image_ids[30]]) + 99] ^= 16
    shard.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"00002\.parquet: row \d+ of row group \d \(image_id {dataset.image_ids[30]}\)"
    ):
        list(feed(dataset.folder, threads=2).sweep())
    assert feed_threads() == []


def test_a_picture_that_cannot_be_decoded_is_reported_with_its_fault(tmp_path: Path) -> None:
    data = b"\xff\xd8\xff no picture"
    table = pa.table([["a" * 64], [0], [data], [zlib.crc32(data)]], schema=DATASET)
    path = tmp_path / "train" / "0.parquet"
    path.parent.mkdir()
    pq.write_table(table, path)
    row_groups = (manifest.RowGroup(rows=1, num_bytes=len(data)),)
    files = (manifest.describe(tmp_path, path, rows=1, row_groups=row_groups),)
    found = manifest.Manifest(
        kind="dataset", fingerprint="", parents={}, settings={}, code_version="", counts={}, files=files
    )
    manifest.write(tmp_path, found)
    with pytest.raises(
        UserError, match=r"0\.parquet: row 0 of row group 0 \(image_id a+\) cannot be decoded \((corrupt|truncated)"
    ):
        list(feed(tmp_path, batch=1).epoch(0))


def test_a_lost_or_cut_shard_is_found_before_the_first_step(write_dataset: Write) -> None:
    dataset = write_dataset([[4], [4]])
    shard = dataset.folder / "train" / "00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"00001\.parquet is missing or cut"):
        feed(dataset.folder)
    shard.unlink()
    with pytest.raises(UserError, match=r"00001\.parquet is missing or cut"):
        feed(dataset.folder)


def test_a_shard_deleted_in_the_middle_is_one_clear_error(write_dataset: Write) -> None:
    dataset = write_dataset([[4]] * 30)
    batches = feed(dataset.folder, batch=4, shuffle_row_groups=4).epoch(0)
    next(batches)
    for shard in (dataset.folder / "train").iterdir():
        shard.unlink()
    with pytest.raises(UserError, match=r"\.parquet is missing, though the manifest names it"):
        list(batches)
    assert feed_threads() == []


def test_a_decoding_thread_that_dies_does_not_hang_the_feed(
    write_dataset: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(Painter, "paint", dying)
    with pytest.raises(SystemExit):
        list(feed(write_dataset([[40]]).folder, threads=3).epoch(0))
    assert feed_threads() == []


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_forgotten_epoch_leaves_no_thread(write_dataset: Write, taken: int) -> None:
    batches = feed(write_dataset([[5] * 20]).folder, prefetch_batches=1).epoch(0)
    for _ in range(taken):
        next(batches)
    del batches
    assert feed_threads() == []


@pytest.mark.parametrize("asked_next", [1, 0, 3])
def test_an_epoch_that_was_begun_ahead_gives_what_it_gives_alone(write_dataset: Write, asked_next: int) -> None:
    folder = write_dataset(LAYOUTS["uneven shards"]).folder
    one = feed(folder, threads=2, augment=EVERYTHING)
    asked = (
        [*one.epoch(0, has_next_epoch=True)],
        [*one.epoch(asked_next, has_next_epoch=True)],
        [*one.sweep()],
        [*one.epoch(2)],
    )
    alone = (feed(folder, augment=EVERYTHING) for _ in asked)
    expected = [next(alone).epoch(0), next(alone).epoch(asked_next), next(alone).sweep(), next(alone).epoch(2)]
    assert [print_of(batches) for batches in asked] == [print_of(batches) for batches in expected]


def test_the_next_epoch_is_begun_while_this_one_is_taken(write_dataset: Write) -> None:
    folder = write_dataset([[5] * 20]).folder
    one = feed(folder)
    batches = one.epoch(0, has_next_epoch=True)
    while feed_threads().count("feed-prefetch") < 2:
        next(batches)
    assert sum(name.startswith("feed-decode") for name in feed_threads()) == 1  # both share them
    list(batches)
    assert feed_threads().count("feed-prefetch") == 1
    assert print_of(one.epoch(1, start_step=1)) == print_of(feed(folder).epoch(1, start_step=1))
    assert feed_threads() == []


@pytest.mark.parametrize("taken", [0, 1])
def test_a_feed_that_is_forgotten_with_an_epoch_begun_ahead_leaves_no_thread(write_dataset: Write, taken: int) -> None:
    one = feed(write_dataset([[5] * 20]).folder)
    list(one.epoch(0, has_next_epoch=True))
    batches = one.epoch(1, has_next_epoch=True)
    for _ in range(taken):
        next(batches)
    del batches, one
    deadline = time.monotonic() + 30
    while feed_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert feed_threads() == []


def test_the_shuffle_is_told_beside_less_and_more_memory(write_dataset: Write) -> None:
    line = feed(write_dataset([[4] * 10] * 3).folder, shuffle_row_groups=12).shuffle_line()
    assert re.fullmatch(r"with feed\.shuffle_row_groups=12, .* \d+\.\d times .* \(3: \d+\.\d, 48: \d+\.\d\)", line)


def test_waiting_is_counted_over_all_epochs(write_dataset: Write) -> None:
    one = feed(write_dataset([[12]]).folder)
    assert one.wait_seconds == 0.0
    list(one.epoch(0))
    first = one.wait_seconds
    assert first > 0.0
    list(one.epoch(1))
    assert one.wait_seconds > first


def test_an_interpreter_that_exits_in_the_middle_of_an_epoch_does_not_hang(write_dataset: Write) -> None:
    folder = write_dataset([[5] * 40]).folder
    script = (
        "import sys, pathlib; from training.feed.feed import Feed\n"
        "from training.feed.settings import FeedSettings; folder = pathlib.Path(sys.argv[1])\n"
        "feed = Feed(folder, 'train', FeedSettings(threads=2), seed=0, global_batch_size=4, rank=0, size=1)\n"
        "batches = feed.epoch(0); print(len(next(batches).image_ids))"
    )
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


PEOPLE = [[2, 3], [4], [1, 5]]  # photos of the identities of each row group


@pytest.fixture
def people(write_dataset: Write) -> Any:
    """A dataset whose identities lie whole in row groups, and whose index says so."""
    dataset = write_dataset([[5, 4], [6]])
    places = [(group, sum(sizes[:n]), size) for group, sizes in enumerate(PEOPLE) for n, size in enumerate(sizes)]
    columns = dict(zip(("row_group", "first_row", "num_images"), zip(*places, strict=True), strict=True))
    dataset.add_labels(pa.table({"split": ["train"] * len(places), "label": range(len(places)), **columns}))
    return dataset


def test_photos_of_an_identity_stand_side_by_side(people: Any) -> None:
    sizes = [size for group in PEOPLE for size in group]
    owner = dict(zip(people.image_ids, np.repeat(np.arange(len(sizes)), sizes).tolist(), strict=True))
    seen = set()
    for batch in feed(people.folder, batch=4, photos_per_identity=2).epoch(0):
        for one, other in zip(batch.image_ids[::2], batch.image_ids[1::2], strict=True):
            assert owner[one] == owner[other]
            assert one != other or sizes[owner[one]] == 1
            seen.add(owner[one])
    assert len(seen) == 4


def test_a_batch_of_more_identities_than_there_are_is_refused(people: Any) -> None:
    num_identities = sum(map(len, PEOPLE))
    most = 2 * num_identities
    shown = next(iter(feed(people.folder, batch=most, photos_per_identity=2).epoch(0))).image_ids
    assert len(shown) == most
    with pytest.raises(
        UserError, match=rf" and the split 'train' has {num_identities}; .*batch_size to at most {most}"
    ):
        next(iter(feed(people.folder, batch=most + 2, photos_per_identity=2).epoch(0)))


def test_identity_batches_are_the_same_for_all_threads_and_ranks(people: Any) -> None:
    expected = print_of(feed(people.folder, batch=4, photos_per_identity=2).epoch(1))
    assert (
        print_of(feed(people.folder, batch=4, photos_per_identity=2, threads=3, reader_threads=2).epoch(1)) == expected
    )
    ranks = [
        [batch.image_ids for batch in feed(people.folder, batch=4, rank=rank, size=2, photos_per_identity=2).epoch(1)]
        for rank in range(2)
    ]
    assert [one + other for one, other in zip(*ranks, strict=True)] == [ids for _, _, ids in expected]


def test_a_batch_that_splits_an_identity_is_refused(people: Any) -> None:
    with pytest.raises(UserError, match="which 2 ranks with 3 photos of each identity cannot share; take a multiple"):
        feed(people.folder, batch=4, size=2, photos_per_identity=3)
