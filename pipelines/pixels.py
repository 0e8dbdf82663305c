"""Decoding of one image to upright RGB pixels, or to a named fault (pure, no Spark).

The format is read off the content, never the file name; declared sizes are checked before pixels are allocated.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import Picture
from pipelines.decode_faults import EMPTY, TOO_MANY_BYTES, DecodeError
from pipelines.formats import jpeg
from pipelines.formats.exif import UPRIGHT
from pipelines.formats.raster import decode_raster
from pipelines.formats.signatures import JPEG, sniff
from pipelines.settings import PixelSettings

# Training catches the error, and may import this module alone.
__all__ = ["DecodeError", "Decoded", "decode", "sniff", "upright"]


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, as it is displayed."""

    rgb: Picture  # (H, W, 3), upright
    format: str  # Pillow's name: JPEG, PNG, WEBP, ...
    mode: str  # Pillow's name of the stored pixels: RGB, L, CMYK, P, I;16, ...
    orientation: int  # EXIF 1..8 as stored; applied to `rgb`
    warnings: int = 0  # faults of form that touch no pixel; only those of JPEG are counted

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])


def decode(data: bytes, settings: PixelSettings) -> Decoded:
    """Decode one picture: the first frame of an animation, transparency on white, 16 bits scaled to 8.

    Raises:
        DecodeError: with the fault's name; every input gives either pixels or this error.
    """
    if not data:
        raise DecodeError(EMPTY, "no bytes")
    if len(data) > settings.max_bytes:
        raise DecodeError(TOO_MANY_BYTES, f"{len(data)} bytes; max_bytes is {settings.max_bytes}")
    picture_format = sniff(data)
    if picture_format == JPEG:
        rgb, header = jpeg.decode_jpeg(data, settings)
        return Decoded(upright(rgb, header.orientation), JPEG, header.mode, header.orientation, header.warnings)
    rgb, raster = decode_raster(data, picture_format, settings)
    turn = UPRIGHT if raster.is_turned else raster.orientation
    return Decoded(upright(rgb, turn), picture_format, raster.mode, raster.orientation)


def upright(rgb: Picture, orientation: int) -> Picture:
    """Apply an EXIF orientation 1..8 (EXIF 2.32, tag 0x0112) to (H, W, 3); 5 to 8 swap the sides."""
    if orientation >= 5:
        rgb = rgb.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)
