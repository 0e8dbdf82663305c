"""Datasets at an address: the same batches as from a folder, and every fault of the way survived or named in time."""

import hashlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.settings import UserError
from training.feed.feed import Feed
from training.feed.location import Location
from training.feed.settings import DecodeSettings, FeedSettings, RemoteSettings

LAYOUT = [[5, 1, 9], [4], [12, 7]]
Write = Callable[..., Any]


def feed(folder: Path, **settings: Any) -> Feed:
    options = FeedSettings(decode=DecodeSettings(size_px=16), shuffle_row_groups=12, **settings)
    return Feed(folder, "train", options, seed=0, global_batch_size=6, rank=0, size=1)


def print_of(one: Feed) -> list[tuple[str, list[int], list[str]]]:
    return [
        (
            hashlib.sha256(batch.images.contiguous().numpy().tobytes()).hexdigest(),
            batch.labels.tolist(),
            batch.image_ids,
        )
        for batch in one.epoch(1)
    ]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_folder_by_another_name_gives_the_same_batches(write_dataset: Write, tmp_path: Path, scheme: str) -> None:
    folder = write_dataset(LAYOUT).folder
    expected = print_of(feed(folder))
    moved = folder.rename(tmp_path / "else where")
    assert print_of(feed(folder, location=f"{scheme}{moved}")) == expected


def test_any_file_system_of_fsspec_gives_the_same_batches(write_dataset: Write) -> None:
    folder = write_dataset(LAYOUT).folder
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/faces/set", recursive=True)
    assert print_of(feed(Path("nowhere"), location="memory://faces/set")) == print_of(feed(folder))
    memory.rm("/faces/set/train/00001.parquet")
    with pytest.raises(UserError, match=r"^memory://faces/set/train/00001\.parquet is missing or cut"):
        feed(Path("nowhere"), location="memory://faces/set")


def test_a_bucket_gives_the_same_batches(write_dataset: Write, remote: Any) -> None:
    folder = write_dataset(LAYOUT).folder
    address = remote.upload(folder)
    expected = print_of(feed(folder))
    one = feed(Path("nowhere"), location=address, remote=remote.settings(), reader_threads=2)
    assert print_of(one) == expected
    assert any("train/00002.parquet" in request for request in remote.proxy.requests)


@pytest.mark.parametrize("fault", ["error", "hang", "reset", "break", "slow"])
def test_every_first_answer_may_fail(write_dataset: Write, remote: Any, fault: str) -> None:
    folder = write_dataset([[5, 1], [9]]).folder
    expected = print_of(feed(folder))
    address = remote.upload(folder)
    seen: Counter[str] = Counter()

    def once(request: str) -> str | None:
        seen[request] += 1
        return fault if seen[request] == 1 and request.startswith("GET") else None

    remote.proxy.faults = once
    one = feed(Path("nowhere"), location=address, remote=remote.settings(tries=8))
    assert print_of(one) == expected
    assert sum(count > 1 for count in seen.values()) >= 3


@pytest.mark.parametrize("fault", ["error", "hang", "reset"])
def test_a_shard_that_never_comes_is_one_line_with_its_name_and_the_tries(
    write_dataset: Write, remote: Any, fault: str
) -> None:
    address = remote.upload(write_dataset([[5], [9], [6]]).folder)
    remote.proxy.faults = lambda request: fault if "00001.parquet" in request else None
    one = feed(Path("nowhere"), location=address, remote=remote.settings(tries=2))
    begin = time.monotonic()
    with pytest.raises(
        UserError,
        match=rf"^{address}/train/00001\.parquet.* could not be read in 2 tries \(.*raise feed\.remote\.tries$",
    ):
        list(one.epoch(0))
    assert time.monotonic() - begin < 30.0


def test_a_store_that_hangs_longer_than_a_stall_is_named_in_time(write_dataset: Write, remote: Any) -> None:
    address = remote.upload(write_dataset([[5], [9], [6]]).folder)
    one = feed(
        Path("nowhere"),
        location=address,
        remote=remote.settings(request_timeout_seconds=60),
        max_stall_seconds=1.0,
        reader_threads=2,
    )
    batches = one.epoch(0)
    remote.proxy.faults = lambda request: "hang" if "00001.parquet" in request else None
    begin = time.monotonic()
    with pytest.raises(UserError, match=rf"{address}/train/00001\.parquet: row group 0 gave nothing within"):
        list(batches)
    assert time.monotonic() - begin < 30.0


def test_a_store_that_hangs_keeps_the_process_no_longer_than_a_request(write_dataset: Write, remote: Any) -> None:
    address = remote.upload(write_dataset([[5], [9], [6]]).folder)
    remote.proxy.faults = lambda request: "hang" if "GET" in request and "00001.parquet" in request else None
    script = (
        "import sys, pathlib; from training.feed.feed import Feed\n"
        "from training.feed.settings import FeedSettings; from pipelines.settings import UserError\n"
        "settings = FeedSettings.model_validate_json(sys.argv[1])\n"
        "feed = Feed(pathlib.Path('x'), 'train', settings, seed=0, global_batch_size=6, rank=0, size=1)\n"
        "try: list(feed.epoch(0))\n"
        "except UserError as error: print(error)"
    )
    settings = FeedSettings(
        location=address, remote=remote.settings(request_timeout_seconds=3), max_stall_seconds=1.0, reader_threads=2
    )
    command = [sys.executable, "-c", script, settings.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "00001.parquet: row group 0 gave nothing within feed.max_stall_seconds=1" in done.stdout


def test_a_shard_deleted_from_the_bucket_is_one_clear_error(write_dataset: Write, remote: Any) -> None:
    address = remote.upload(write_dataset([[5], [9], [6]]).folder)
    one = feed(Path("nowhere"), location=address, remote=remote.settings())
    remote.backdoor.delete_file(f"{remote.bucket}/set/train/00001.parquet")
    with pytest.raises(UserError, match=rf"^{address}/train/00001\.parquet is missing, though the manifest names it"):
        list(one.epoch(0))
    with pytest.raises(UserError, match=rf"^{address}/train/00001\.parquet is missing or cut"):
        feed(Path("nowhere"), location=address, remote=remote.settings())


def test_a_refusal_is_told_at_once(write_dataset: Write, remote: Any) -> None:
    address = remote.upload(write_dataset([[5], [9], [6]]).folder)
    one = feed(Path("nowhere"), location=address, remote=remote.settings())
    remote.proxy.faults = lambda request: "refuse" if "00001.parquet" in request else None
    with pytest.raises(
        UserError, match=rf"^{address}/train/00001\.parquet: its row group 0 cannot be read \(.*DENIED.*credentials"
    ):
        list(one.epoch(0))
    # Not again and again: for the read and whether it is there, once for the footer and for each part of the row group.
    assert sum("00001.parquet" in request for request in remote.proxy.requests) <= 6
    remote.proxy.faults = lambda request: "refuse"
    with pytest.raises(UserError, match=rf"^{address}/manifest\.json cannot be read \(.*DENIED.* and the credentials$"):
        feed(Path("nowhere"), location=address, remote=remote.settings())


def test_a_flipped_bit_on_the_way_is_found_by_the_rows_digest(write_dataset: Write, remote: Any) -> None:
    dataset = write_dataset([[5], [9], [6]])
    address = remote.upload(dataset.folder)
    content = bytearray((dataset.folder / "train" / "00001.parquet").read_bytes())
    content[content.index(dataset.images[dataset.image_ids[7]]) + 99] ^= 16
    with remote.backdoor.open_output_stream(f"{remote.bucket}/set/train/00001.parquet") as stream:
        stream.write(content)
    one = feed(Path("nowhere"), location=address, remote=remote.settings())
    with pytest.raises(UserError, match=rf"00001\.parquet: row 2 of row group 0 \(image_id {dataset.image_ids[7]}\)"):
        list(one.sweep())


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://faces-none/set", "s3://faces-none/set has no manifest.json, so it is no finished artefact"),
        ("ftq://host/set", "feed.location=ftq://host/set: nothing here reads such an address"),
    ],
)
def test_an_address_that_is_none_is_one_line(remote: Any, place: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        feed(Path("nowhere"), location=place, remote=remote.settings())


def test_a_store_out_of_reach_is_one_line_with_the_tries(remote: Any) -> None:
    unreachable = remote.settings(s3_endpoint="http://127.0.0.1:9", tries=2)
    with pytest.raises(UserError, match=r"s3://faces/set/manifest\.json could not be read in 2 tries \(.*connect"):
        Location("s3://faces/set", unreachable).read("manifest.json")


def test_an_endpoint_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="s3_endpoint"):
        RemoteSettings(s3_endpoint="minio:9000")
