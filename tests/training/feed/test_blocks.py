"""Blocks of pixels are used again, but never while a batch shows them."""

import torch

from training.feed.blocks import MOST_BLOCKS, Blocks


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
