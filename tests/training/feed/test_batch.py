"""Blocks of pixels are used again, but never while a batch shows them; a reader that ends too early is an error."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from training.feed.batch import MOST_BLOCKS, Blocks, Decoders, batches
from training.feed.location import Location
from training.feed.order import sweep
from training.feed.paint import Painter
from training.feed.reader import Reader
from training.feed.settings import DecodeSettings
from training.feed.shards import row_groups


def test_a_block_is_used_again_once_nobody_holds_it() -> None:
    blocks = Blocks(8)
    first = blocks.take(4)
    address = first.ctypes.data
    assert blocks.take(4).ctypes.data != address
    del first
    assert blocks.take(4).ctypes.data == address


def test_a_view_of_a_tensor_of_a_block_keeps_it() -> None:
    blocks = Blocks(8)
    block = blocks.take(4)
    address = block.ctypes.data
    view = torch.from_numpy(block).permute(0, 3, 1, 2)[1:, 0]
    del block
    assert blocks.take(4).ctypes.data != address
    del view
    assert blocks.take(4).ctypes.data == address


def test_a_short_batch_gets_a_block_of_its_size() -> None:
    blocks = Blocks(8)
    assert blocks.take(4).shape == (4, 8, 8, 3)
    assert blocks.take(3).shape == (3, 8, 8, 3)


def test_no_more_than_a_few_blocks_are_kept() -> None:
    blocks = Blocks(8)
    held = [blocks.take(1) for _ in range(3 * MOST_BLOCKS)]
    assert len(blocks._blocks) == MOST_BLOCKS
    assert len({block.ctypes.data for block in held}) == len(held)


def test_a_reader_that_ends_too_early_is_named(write_dataset: Callable[..., Any]) -> None:
    pieces = row_groups(Location(write_dataset([[4], [4], [4]]).folder), "train")

    def open_reader() -> Reader:
        return Reader(iter(pieces[:2]), any_shard=pieces[0].shard, threads=1, max_stall_seconds=60.0)

    painter = Painter(DecodeSettings(size_px=16), None)
    steps = sweep([4, 4, 4], batch_size=4, rank=0, size=1)
    with pytest.raises(RuntimeError, match=r"the reader ended before .*00002\.parquet: row group 0"):
        list(batches(steps, open_reader, pieces, painter, Decoders(1), Blocks(16)))
