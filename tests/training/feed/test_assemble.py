"""Rows become batches in the order of their steps; a reader that ends too early is an error."""

from collections.abc import Callable
from typing import Any

import pytest

from training.feed.assemble import Decoders, batches
from training.feed.blocks import Blocks
from training.feed.location import Location
from training.feed.paint import Painter
from training.feed.plans.rows import sweep
from training.feed.reader import Reader
from training.feed.settings import DecodeSettings
from training.feed.shards import row_groups


def test_a_reader_that_ends_too_early_is_named(write_dataset: Callable[..., Any]) -> None:
    pieces = row_groups(Location(write_dataset([[4], [4], [4]]).folder), "train")

    def open_reader() -> Reader:
        return Reader(iter(pieces[:2]), any_shard=pieces[0].shard, threads=1, max_stall_seconds=60.0)

    painter = Painter(DecodeSettings(size_px=16), None)
    steps = sweep([4, 4, 4], batch_size=4, rank=0, size=1)
    with pytest.raises(RuntimeError, match=r"the reader ended before .*00002\.parquet: row group 0"):
        list(batches(steps, open_reader, pieces, painter, Decoders(1), Blocks(16)))
