"""What is chosen is what the rows say, taken by themselves: nothing else of the feed changes."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.settings import UserError
from training.feed.feed import Feed
from training.feed.location import Location
from training.feed.settings import DecodeSettings, FeedSettings, WhereSettings
from training.feed.shards import row_groups
from training.feed.where import chosen_pieces, mask

LAYOUT = [[5, 1, 9], [4], [12, 7]]
WHERES = [{"share": 0.5}, {"labels": [3, 31]}, {"share": 0.6, "labels": [0, 30]}]
Write = Callable[..., Any]


def feed(folder: Path, *, rank: int = 0, size: int = 1, **settings: Any) -> Feed:
    options = FeedSettings(**{"decode": DecodeSettings(size_px=16), "shuffle_row_groups": 12} | settings)
    return Feed(folder, "train", options, seed=0, global_batch_size=4, rank=rank, size=size)


def is_chosen(image_id: str, label: int, *, share: float = 1.0, labels: tuple[int, int] = (0, 1000)) -> bool:
    return int(image_id, 16) / 16**64 < share and labels[0] <= label < labels[1]


@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("nearer", [{}, {"keep": "encoded"}, {"keep": "decoded"}, {"cache_dir": True}])
def test_the_chosen_rows_are_shown_once_and_no_others(
    write_dataset: Write, tmp_path: Path, where: dict[str, Any], nearer: dict[str, Any]
) -> None:
    dataset = write_dataset(LAYOUT)
    expected = {name: label for name, label in dataset.labels.items() if is_chosen(name, label, **where)}
    assert 8 < len(expected) < len(dataset.labels)
    if "cache_dir" in nearer:
        nearer = {"cache_dir": tmp_path / "near"}
    one = feed(dataset.folder, where=where, **nearer)
    assert one.steps_per_epoch == len(expected) // 4
    for _ in range(2):
        shown = [pair for batch in one.sweep() for pair in zip(batch.image_ids, batch.labels.tolist(), strict=True)]
        assert sorted(shown) == sorted(expected.items())
    ranks = [feed(dataset.folder, rank=rank, size=2, where=where, **nearer) for rank in range(2)]
    counts = Counter(name for rank in ranks for batch in rank.epoch(1) for name in batch.image_ids)
    assert set(counts.values()) == {1}
    assert set(counts) <= set(expected)
    assert len(counts) == len(expected) // 4 * 4


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_smaller_share_is_part_of_a_larger(one: float, other: float) -> None:
    table = names()
    small, large = (mask(WhereSettings(share=share), table) for share in sorted((one, other)))
    assert not (small & ~large).any()


def test_a_share_is_that_large() -> None:
    chosen = mask(WhereSettings(share=0.25), names())
    assert abs(chosen.mean() - 0.25) < 4 * (0.25 * 0.75 / len(chosen)) ** 0.5


def names() -> Any:
    ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]
    return pa.table({"image_id": ids, "label": list(range(4000))})


def test_a_damaged_row_that_is_not_chosen_harms_nothing_and_a_chosen_one_stands_in(write_dataset: Write) -> None:
    dataset = write_dataset([[8]])
    path = dataset.folder / "train" / "00000.parquet"
    first, third = dataset.image_ids[0], dataset.image_ids[2]
    content = path.read_bytes()
    for image in (dataset.images[first], dataset.images[third]):
        content = content.replace(image, image[:40] + bytes([image[40] ^ 4]) + image[41:])
    path.write_bytes(content)
    one = feed(dataset.folder, where={"labels": [1, 5]}, max_bad_rows=1)
    shown = [image_id for batch in one.sweep() for image_id in batch.image_ids]
    assert [dataset.image_ids.index(name) for name in shown] == [1, 3, 3, 4]
    with pytest.raises(UserError, match=rf"row 1 of those of feed\.where, 4 rows, of row group 0 \(image_id {third}\)"):
        list(feed(dataset.folder, where={"labels": [1, 5]}).sweep())


def test_only_narrow_columns_are_read_to_choose(write_dataset: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")
    read: list[list[str]] = []
    original = pq.ParquetFile.read_row_group

    def noting(self: Any, number: int, columns: list[str], **more: Any) -> Any:
        read.append(columns)
        return original(self, number, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noting)
    assert chosen_pieces(pieces, WhereSettings()) == pieces
    assert read == []
    chosen_pieces(pieces, WhereSettings(share=0.5))
    assert read == [["image_id", "label"]] * len(pieces)


def test_nothing_chosen_is_one_clear_error(write_dataset: Write) -> None:
    with pytest.raises(UserError, match=r"^feed\.where \(.*\[100,200\].*\) chooses none of 38 rows"):
        feed(write_dataset(LAYOUT).folder, where={"labels": [100, 200]})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"where": {"share": 0.0}}, "greater than 0"),
        ({"where": {"labels": [5, 5]}}, r"labels is \[5, 5\]; give the first label and the one after the last"),
    ],
)
def test_settings_that_choose_nothing_or_clash_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        FeedSettings(**values)
