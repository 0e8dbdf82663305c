"""A set held in memory: the same batches to the bit, read and decoded once, and never more than is allowed."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import simplejpeg
from pydantic import ValidationError

from pipelines.settings import UserError
from training.feed.feed import Feed
from training.feed.in_memory import KeptRowGroups
from training.feed.location import Location
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings
from training.feed.shards import Piece, read_row_group, row_groups

LAYOUT = [[5, 1, 9], [4], [12, 7]]
WITHOUT_CROPS = AugmentSettings(brightness=0.3, saturation=0.3, grey=0.2, blur=0.3, erase=0.3)
WITH_CROPS = AugmentSettings(crop_area=(0.3, 1.0), brightness=0.3)
Write = Callable[..., Any]


def feed(folder: Path, **settings: Any) -> Feed:
    options = FeedSettings(**{"decode": DecodeSettings(size_px=16), "shuffle_row_groups": 12} | settings)
    return Feed(folder, "train", options, seed=0, global_batch_size=6, rank=0, size=1)


def print_of(one: Feed) -> list[list[tuple[str, list[int], list[str]]]]:
    """Three epochs and a sweep, in a form that compares."""
    return [
        [
            (hashlib.sha256(part.images.contiguous().numpy()).hexdigest(), part.labels.tolist(), part.image_ids)
            for part in batches
        ]
        for batches in (one.epoch(0), one.sweep(), one.epoch(1), one.epoch(2))
    ]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("keep", "augment"), [("encoded", WITH_CROPS), ("encoded", WITHOUT_CROPS), ("decoded", WITHOUT_CROPS)]
)
def test_what_is_kept_gives_the_same_batches_to_the_bit(
    write_dataset: Write, keep: str, augment: AugmentSettings, threads: int
) -> None:
    folder = write_dataset(LAYOUT, side_px=40).folder
    options = {"augment": augment, "threads": threads, "reader_threads": threads}
    assert print_of(feed(folder, keep=keep, **options)) == print_of(feed(folder, **options))


def test_a_row_group_is_read_once(write_dataset: Write) -> None:
    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")
    reads: Counter[Piece] = Counter()

    def counting(piece: Piece) -> pa.Table:
        reads[piece] += 1
        return read_row_group(piece)

    kept = KeptRowGroups(counting)
    for piece in [*pieces, *reversed(pieces)]:
        assert kept(piece).equals(read_row_group(piece))
    assert set(reads.values()) == {1}


def test_a_picture_is_decoded_once(write_dataset: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[bytes] = Counter()
    decode_jpeg = simplejpeg.decode_jpeg

    def counting(data: bytes, *arguments: Any, **options: Any) -> Any:
        decoded[bytes(data)] += 1
        return decode_jpeg(data, *arguments, **options)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", counting)
    one = feed(write_dataset(LAYOUT).folder, keep="decoded")
    for _ in range(2):
        list(one.sweep())
    list(one.epoch(0))
    assert set(decoded.values()) == {1}
    assert len(decoded) == 38


def test_a_set_larger_than_the_limit_is_refused_before_it_is_read(write_dataset: Write) -> None:
    folder = write_dataset(LAYOUT).folder
    num_bytes = sum(path.stat().st_size for path in (folder / "train").iterdir())
    feed(folder, keep="encoded", keep_bytes=num_bytes)
    with pytest.raises(UserError, match=rf"^feed\.keep=encoded takes {num_bytes:,} bytes .* set feed\.keep=none, or"):
        feed(folder, keep="encoded", keep_bytes=num_bytes - 1)
    decoded = num_bytes + 38 * 16 * 16 * 3
    feed(folder, keep="decoded", keep_bytes=decoded)
    with pytest.raises(UserError, match=rf"takes {decoded:,} bytes .* set feed\.keep=encoded or none"):
        feed(folder, keep="decoded", keep_bytes=decoded - 1)


def test_random_crops_are_not_kept_decoded() -> None:
    with pytest.raises(ValidationError, match=r"keep=encoded, or augment\.crop_area"):
        FeedSettings(keep="decoded", augment=WITH_CROPS)
