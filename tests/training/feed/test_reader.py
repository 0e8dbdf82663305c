"""Row groups through petastorm: the plan's order, and every kind of broken shard told by name."""

import itertools
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.columns import DATASET
from pipelines.settings import UserError
from training.feed.location import Location
from training.feed.reader import Reader
from training.feed.settings import RemoteSettings
from training.feed.shards import Piece, Rows, read_row_group, row_groups

LAYOUT = [[4, 3], [1, 1, 5], [2]]


def open_reader(plan: Iterable[Piece], *, threads: int = 1, max_stall_seconds: float = 60.0, **options: Any) -> Reader:
    pieces = iter(plan)
    first = next(pieces)
    plan = itertools.chain([first], pieces)
    return Reader(plan, any_shard=first.shard, threads=threads, max_stall_seconds=max_stall_seconds, **options)


def read(plan: list[Piece], threads: int = 1) -> list[Rows]:
    with open_reader(plan, threads=threads) as reader:
        return list(reader)


def file_of(piece: Piece) -> Path:
    return Path(str(piece.shard))


def reading_threads() -> int:
    return sum(thread.name == "feed-read" for thread in threading.enumerate())


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_rows_come_in_the_order_of_the_plan_and_none_is_lost(write_dataset: Callable[..., Any], threads: int) -> None:
    dataset = write_dataset(LAYOUT)
    pieces = row_groups(Location(dataset.folder), "train")
    plan = [pieces[number] for number in (5, 0, 3, 3, 1, 4, 2, 0)] * 5
    ids = [image_id for rows in read(plan, threads) for image_id in rows.image_ids]
    ends = [4, 7, 8, 9, 14, 16]
    spans = [(ends[number] - pieces[number].rows, ends[number]) for number in (5, 0, 3, 3, 1, 4, 2, 0)] * 5
    assert ids == [image_id for start, end in spans for image_id in dataset.image_ids[start:end]]


@pytest.mark.parametrize("threads", [1, 3])
def test_it_reads_a_bounded_window_ahead(write_dataset: Callable[..., Any], threads: int) -> None:
    piece = row_groups(Location(write_dataset([[2]]).folder), "train")[0]
    asked = 0

    def plan() -> Iterator[Piece]:
        nonlocal asked
        while True:
            asked += 1
            yield piece

    with open_reader(plan(), threads=threads) as reader:
        for taken in range(1, 6):
            next(reader)
            assert asked == taken + threads + 2


def test_only_one_footer_is_read_before_the_plan_asks_for_more(write_dataset: Callable[..., Any]) -> None:
    dataset = write_dataset(LAYOUT)
    pieces = row_groups(Location(dataset.folder), "train")
    file_of(pieces[2]).write_bytes(b"no footer at all")
    assert len(read(pieces[:2])) == 2


def test_odd_characters_in_the_path_do_no_harm(write_dataset: Callable[..., Any], tmp_path: Path) -> None:
    folder = write_dataset(LAYOUT).folder.rename(tmp_path / "my set #1 100%25 ü")
    assert len(read(row_groups(Location(folder), "train"))) == 6


def test_a_missing_shard_is_named(write_dataset: Callable[..., Any]) -> None:
    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")
    file_of(pieces[2]).unlink()
    with pytest.raises(UserError, match=r"00001\.parquet is missing"):
        read(pieces)
    with pytest.raises(UserError, match=r"00001\.parquet is missing"):
        read(pieces[2:])  # also where it would have been asked for the schema


@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError, SystemExit])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_thread_that_dies_ends_the_reading(
    write_dataset: Callable[..., Any], error: type[BaseException], threads: int
) -> None:
    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")

    def dying(piece: Piece) -> pa.Table:
        if piece == pieces[3]:
            raise error
        return read_row_group(piece)

    with open_reader(pieces, threads=threads, source=dying) as reader:
        assert [len(next(reader).labels) for _ in range(3)] == [4, 3, 1]
        with pytest.raises(error):
            next(reader)
    assert reading_threads() == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_a_read_that_gives_nothing_is_named_in_time_and_not_waited_for(
    write_dataset: Callable[..., Any], threads: int
) -> None:
    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")
    let_go = threading.Event()

    def hanging(piece: Piece) -> pa.Table:
        if piece == pieces[3]:
            let_go.wait(60.0)
        return read_row_group(piece)

    begin = time.monotonic()
    with open_reader(pieces, threads=threads, max_stall_seconds=0.3, source=hanging) as reader:
        for _ in range(3):
            next(reader)
        with pytest.raises(
            UserError, match=r"00001\.parquet: row group 1 gave nothing within .*max_stall_seconds=0\.3"
        ):
            next(reader)
    assert 0.3 < time.monotonic() - begin < 25.0
    let_go.set()


def test_a_fault_that_passes_is_tried_again_and_then_named(write_dataset: Callable[..., Any]) -> None:
    remote = RemoteSettings(tries=3, first_wait_seconds=0.0)
    pieces = row_groups(Location(write_dataset(LAYOUT).folder, remote), "train")
    faults = 2

    def shaky(piece: Piece) -> pa.Table:
        nonlocal faults
        if piece == pieces[3] and faults:
            faults -= 1
            raise ConnectionResetError("planted")
        return read_row_group(piece)

    with open_reader(pieces, source=shaky) as reader:
        assert len(list(reader)) == 6
    faults = 3
    with (
        open_reader(pieces, source=shaky) as reader,
        pytest.raises(
            UserError, match=r"00001\.parquet: row group 1 could not be read in 3 tries \(planted\); .*tries"
        ),
    ):
        list(reader)


def test_closing_does_not_wait_for_the_next_try(write_dataset: Callable[..., Any]) -> None:
    remote = RemoteSettings(tries=100, first_wait_seconds=600.0, longest_wait_seconds=3600.0)
    pieces = row_groups(Location(write_dataset(LAYOUT).folder, remote), "train")
    tried = threading.Event()

    def failing(piece: Piece) -> pa.Table:
        tried.set()
        raise TimeoutError

    begin = time.monotonic()
    with open_reader(pieces, source=failing):
        assert tried.wait(60.0)
    assert time.monotonic() - begin < 25.0
    assert reading_threads() == 0


def test_pickles_in_the_folder_are_not_opened(write_dataset: Callable[..., Any], tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")
    schema = DATASET.with_metadata({b"dataset-toolkit.unischema.v1": pickle.dumps(Payload())})
    pq.write_metadata(schema, file_of(pieces[0]).parent / "_common_metadata")
    assert len(read(pieces)) == 6
    assert not (tmp_path / "ran").exists()


def test_reading_prints_and_warns_nothing(
    write_dataset: Callable[..., Any], capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    read(row_groups(Location(write_dataset(LAYOUT).folder), "train"))
    assert capsys.readouterr().out == ""
    assert [str(warning.message) for warning in recwarn] == []
