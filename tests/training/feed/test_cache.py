"""The cache on disk: read from far once, never larger than allowed, and no fault of the disk is the end of a run."""

import contextlib
import logging
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.settings import UserError
from training.feed.cache import SUFFIX, CachedRowGroups
from training.feed.feed import Feed
from training.feed.location import Location
from training.feed.settings import DecodeSettings, FeedSettings
from training.feed.shards import Piece, read_row_group, row_groups

Write = Callable[..., Any]


class Far:
    """A source that counts."""

    def __init__(self) -> None:
        self.reads: Counter[Piece] = Counter()

    def __call__(self, piece: Piece) -> pa.Table:
        self.reads[piece] += 1
        return read_row_group(piece)


@pytest.fixture
def pieces(write_dataset: Write) -> list[Piece]:
    return row_groups(Location(write_dataset([[20, 20], [20], [20, 20, 20]]).folder), "train")


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def test_a_row_group_is_read_from_far_once_also_by_another_process(pieces: list[Piece], tmp_path: Path) -> None:
    far = Far()
    for _ in range(2):
        cached = CachedRowGroups(far, tmp_path / "cache", max_bytes=2**20)
        for piece in pieces * 2:
            assert cached(piece).equals(read_row_group(piece))
    assert set(far.reads.values()) == {1}


def test_a_far_dataset_gives_the_same_batches_and_its_second_epoch_reads_no_row_group(
    write_dataset: Write, remote: Any, tmp_path: Path
) -> None:
    folder = write_dataset([[20, 20], [20], [20, 20, 20]]).folder
    address = remote.upload(folder)
    plain = {"decode": DecodeSettings(size_px=16)}
    far = plain | {"location": address, "remote": remote.settings(), "cache_dir": tmp_path / "cache"}

    def epoch(number: int, settings: dict[str, Any]) -> list[tuple[bytes, list[str]]]:
        one = Feed(folder, "train", FeedSettings(**settings), seed=0, global_batch_size=24, rank=0, size=1)
        return [(batch.images.contiguous().numpy().tobytes(), batch.image_ids) for batch in one.epoch(number)]

    assert epoch(0, far) == epoch(0, plain)
    remote.proxy.requests.clear()
    assert epoch(1, far) == epoch(1, plain)
    asked = {request.split("/")[-2].split(" ")[0] for request in remote.proxy.requests if "train/" in request}
    assert asked <= {"00000.parquet"}  # for the schema


def test_it_never_outgrows_its_limit_and_the_longest_unused_goes(pieces: list[Piece], tmp_path: Path) -> None:
    far, folder = Far(), tmp_path / "cache"
    CachedRowGroups(far, folder, max_bytes=2**20)(pieces[0])
    (size,) = (path.stat().st_size for path in files_in(folder))
    cached = CachedRowGroups(far, folder, max_bytes=int(size * 3.7))
    for number in (0, 1, 2, 0, 3):  # 1 is the longest unused when 3 comes
        cached(pieces[number])
        os.sync()
        assert sum(path.stat().st_size for path in files_in(folder)) <= size * 3.7
        _let_time_pass(folder)
    assert [far.reads[piece] for piece in pieces[:4]] == [1, 1, 1, 1]
    for number in (0, 2, 3):
        cached(pieces[number])
    assert [far.reads[piece] for piece in pieces[:4]] == [1, 1, 1, 1]
    cached(pieces[1])
    assert far.reads[pieces[1]] == 2


def _let_time_pass(folder: Path) -> None:
    """Every file was last used a second earlier than it says, since a file system's clock may tick slowly."""
    for path in files_in(folder):
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**9))


def test_a_row_group_larger_than_the_limit_is_not_cached(pieces: list[Piece], tmp_path: Path) -> None:
    cached = CachedRowGroups(Far(), tmp_path, max_bytes=100)
    assert cached(pieces[0]).num_rows == 20
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "other name"])
def test_a_damaged_file_is_noticed_and_read_again(
    pieces: list[Piece], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    far = Far()
    cached = CachedRowGroups(far, tmp_path, max_bytes=2**20)
    cached(pieces[0])
    (path,) = files_in(tmp_path)
    if damage == "other name":
        cached(pieces[1])
        (other,) = set(files_in(tmp_path)) - {path}
        path.write_bytes(other.read_bytes())
    elif damage == "bit":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(path.read_bytes()[: 1000 if damage == "cut" else 0])
    with caplog.at_level(logging.WARNING):
        assert cached(pieces[0]).equals(read_row_group(pieces[0]))
    assert far.reads[pieces[0]] == 2
    assert f"{path} is damaged" in caplog.text
    assert cached(pieces[0]).equals(read_row_group(pieces[0]))
    assert far.reads[pieces[0]] == 2


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond 4 KiB; the kernel refuses the rest as it does on a full disk.

    No longer than the work lasts, since the log of the tests may be such a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_once_and_borne(
    pieces: list[Piece], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cached = CachedRowGroups(Far(), tmp_path / "cache", max_bytes=2**20)
    with full_disk(), caplog.at_level(logging.WARNING):
        for piece in pieces:
            assert cached(piece).equals(read_row_group(piece))
    assert len(caplog.records) == 1
    assert "takes no more" in caplog.text
    assert not (tmp_path / "cache" / ".staged").exists()


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"feed\.cache_dir=.*/file/cache cannot be made"):
        CachedRowGroups(Far(), tmp_path / "file" / "cache", max_bytes=2**20)


def test_several_processes_share_a_folder_that_is_too_small_for_all(
    pieces: list[Piece], tmp_path: Path, write_dataset: Write
) -> None:
    folder = tmp_path / "cache"
    CachedRowGroups(Far(), folder, max_bytes=2**20)(pieces[0])
    limit = int(files_in(folder)[0].stat().st_size * 3.7)
    script = (
        "import random, sys; from pathlib import Path\n"
        "from training.feed.cache import CachedRowGroups; from training.feed.location import Location\n"
        "from training.feed.shards import read_row_group, row_groups\n"
        "pieces = row_groups(Location(Path(sys.argv[1])), 'train')\n"
        "cached = CachedRowGroups(read_row_group, Path(sys.argv[2]), max_bytes=int(sys.argv[3]))\n"
        "for piece in random.Random(sys.argv[4]).choices(pieces, k=100):\n"
        "    assert cached(piece).equals(read_row_group(piece))\n"
        "    with cached._lock():\n"  # else a file may go, or get its name, between being listed and being measured
        "        files = list(Path(sys.argv[2]).glob('*.rowgroup')) + list(Path(sys.argv[2]).glob('.staged'))\n"
        "        assert sum(path.stat().st_size for path in files) <= int(sys.argv[3])\n"
    )
    location = str(pieces[0].shard.location)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script, location, str(folder), str(limit), str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(3)
    ]
    outputs = [rank.communicate(timeout=240)[0] for rank in ranks]
    assert [(rank.returncode, output) for rank, output in zip(ranks, outputs, strict=True)] == [(0, "")] * 3
    assert sum(path.stat().st_size for path in files_in(folder)) <= limit
    assert len(files_in(folder)) == 3
