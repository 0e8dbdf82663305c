"""Decoded samples to the pixels that are stored: 8 bits, on white, and the header that goes with them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.arrays import Picture, UInt8Array
from pipelines.formats.exif import UPRIGHT


@dataclass(frozen=True)
class RasterHeader:
    """The description of the stored pixels."""

    mode: str  # Pillow's name
    orientation: int = UPRIGHT  # as stored, 1..8
    is_turned: bool = False  # whether the decoder has applied the orientation already


def to_eight_bits(levels: NDArray[Any], max_level: int) -> UInt8Array:
    """Scale unsigned levels of at most 16 bits, of any shape, from 0..max_level to 0..255."""
    if max_level == 255:
        return levels.astype(np.uint8, copy=False)
    # A table, since products of large pictures would take four bytes a sample.
    table = (np.arange(max_level + 1, dtype=np.uint32) * 255 + max_level // 2) // max_level
    scaled: UInt8Array = table.astype(np.uint8)[levels]
    return scaled


def grey_to_rgb(grey: UInt8Array) -> Picture:
    """Repeat (H, W) as (H, W, 3)."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def on_white(colours: UInt8Array, alpha: UInt8Array, *, is_premultiplied: bool = False) -> UInt8Array:
    """Compose colours (H, W, C) of opacity (H, W) on white."""
    opacity = alpha[:, :, None].astype(np.uint16)
    composed: UInt8Array
    if is_premultiplied:
        composed = np.minimum(colours + (255 - opacity), 255).astype(np.uint8)
        return composed
    # At most 255 * 255 + 127, so 16 bits hold it.
    composed = ((colours * opacity + (255 - opacity) * 255 + 127) // 255).astype(np.uint8)
    return composed
