"""Blocks of pixels, one for each batch, used again once nobody holds them."""

import sys
import threading

import torch

from pipelines.arrays import Picture

# Kept for use again; more than a queue of usual length and its consumer hold.
MOST_BLOCKS = 16


class Blocks:
    """Blocks of pixels, used again once nobody holds them, since new pages cost up to a tenth of the decoding.

    Passes over a split share them, so that an epoch takes no more memory than the one before it.
    """

    def __init__(self, size_px: int, *, is_pinned: bool = False) -> None:
        """Create an empty pool.

        Args:
            is_pinned: allocate blocks in pages from which a CUDA device copies by itself.
        """
        self._size_px = size_px
        self._is_pinned = is_pinned
        self._lock = threading.Lock()
        self._blocks: list[Picture] = []

    def take(self, num_pictures: int) -> Picture:
        """A block (B, S, S, 3) that no batch shows any more."""
        with self._lock:
            for block in self._blocks:
                # The list, the loop and the call itself; a batch's tensors and their views hold the array as well.
                if len(block) == num_pictures and sys.getrefcount(block) == 3:
                    return block
            shape = (num_pictures, self._size_px, self._size_px, 3)
            block = torch.empty(shape, dtype=torch.uint8, pin_memory=self._is_pinned).numpy()
            self._blocks = [*self._blocks[1 - MOST_BLOCKS :], block]
            return block
