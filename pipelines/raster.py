"""Decoding of all formats except JPEG, through Pillow: PNG, GIF, BMP, TIFF, WebP, PNM, JPEG 2000, AVIF, HEIF.

Animations give their first frame, transparency is composed on white, 16 bits are scaled to 8. HEIF needs the optional
pillow-heif. For a damaged TIFF the C library also writes a line to stderr, which only a process-wide redirection could
prevent.
"""

import functools
import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipelines.arrays import Picture
from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.jpeg import ORIENTATION_TAG, UPRIGHT
from pipelines.settings import PixelSettings

_PNG_SIGNATURE_BYTES = 8
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_PLAIN = frozenset({"RGB", "L", "1", "CMYK", "YCbCr", "LAB", "P"})
_TRANSPARENT = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})


@dataclass(frozen=True)
class RasterHeader:
    """Pillow's description of the stored pixels."""

    mode: str
    orientation: int  # as stored, 1..8
    is_turned: bool  # whether the decoder has applied the orientation already


def decode_raster(data: bytes, picture_format: str, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    """Decode to RGB (H, W, 3), the first frame.

    Args:
        picture_format: Pillow's name of the one format that may read the bytes.

    Raises:
        DecodeError: the picture is damaged, of an unsupported coding, or above a limit.
    """
    if picture_format == "PNG":
        check_png(data)
    # Errors are raised; warnings would flood the logs. `catch_warnings` is not safe among threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        return _decode_with_pillow(data, picture_format, settings)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly any class on a damaged file
        raise _named(error) from None


@functools.cache
def reads_heif() -> bool:
    """Register HEIF with Pillow where pillow-heif is installed; false where it is not."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(decode_threads=1)
    return True


def check_png(data: bytes) -> None:
    """Verify the checksum of every chunk up to IEND, since Pillow skips those of the pixel data.

    Raises:
        DecodeError: a checksum is wrong, or the file ends before IEND.
    """
    view = memoryview(data)
    position = _PNG_SIGNATURE_BYTES
    while True:
        content = position + 4
        if content + 8 > len(data):
            raise DecodeError(TRUNCATED, "ends before the IEND chunk")
        (length,) = struct.unpack_from(">I", data, position)
        end = content + 4 + length
        if end + 4 > len(data):
            raise DecodeError(TRUNCATED, f"ends inside the chunk at byte {position}")
        if zlib.crc32(view[content:end]) != struct.unpack_from(">I", data, end)[0]:
            raise DecodeError(CORRUPT, f"wrong checksum of the chunk at byte {position}")
        if data.startswith(b"IEND", content):
            return
        position = end + 4


def _decode_with_pillow(data: bytes, picture_format: str, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    with Image.open(io.BytesIO(data), formats=(picture_format,)) as picture:
        check_size(*picture.size, settings)
        mode = picture.mode
        # Opening a HEIF clears the tag, since libheif turns the pixels by a property of the container.
        orientation = picture.info.get("original_orientation") or _orientation(picture)
        picture.load()
        # Loading a TIFF turns it upright and removes the tag.
        is_turned = _orientation(picture) != orientation
        return _to_rgb(picture), RasterHeader(mode=mode, orientation=orientation, is_turned=is_turned)


def _orientation(picture: Image.Image) -> int:
    try:
        value = picture.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except Exception:  # damaged metadata; the pixels may be sound
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _to_rgb(picture: Image.Image) -> Picture:
    if picture.mode in _SIXTEEN_BITS or (picture.mode == "I" and picture.format == "PPM"):
        return _from_sixteen_bits(np.asarray(picture))
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        return _on_white(picture.convert("RGBA"))
    if picture.mode in _PLAIN:
        return np.asarray(picture.convert("RGB"))
    raise DecodeError(UNSUPPORTED_CODING, f"pixels of mode {picture.mode} have no fixed range")


def _from_sixteen_bits(levels: NDArray[Any]) -> Picture:
    grey = ((levels.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _on_white(picture: Image.Image) -> Picture:
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=picture.getchannel("A"))
    return np.asarray(white)


def _named(error: Exception) -> DecodeError:
    words = str(error)
    if isinstance(error, Image.DecompressionBombError):
        return DecodeError(TOO_MANY_PIXELS, words)
    if isinstance(error, UnidentifiedImageError):
        return DecodeError(CORRUPT, "the header cannot be read")
    return DecodeError(TRUNCATED if "truncated" in words.lower() else CORRUPT, words)
