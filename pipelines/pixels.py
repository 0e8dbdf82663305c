"""Decoding of one image to upright RGB pixels, or to a named fault (pure, no Spark).

The format is read off the content, never the file name; declared sizes are checked before pixels are allocated.
"""

from dataclasses import dataclass

import numpy as np

from pipelines import jpeg
from pipelines.arrays import Picture
from pipelines.decode_faults import EMPTY, NOT_AN_IMAGE, TOO_MANY_BYTES, UNSUPPORTED_FORMAT, DecodeError
from pipelines.raster import decode_raster, reads_heif
from pipelines.settings import PixelSettings

# Training catches the error, and may import this module alone.
__all__ = ["DecodeError", "Decoded", "decode", "sniff", "upright"]

# The first bytes of each format, and Pillow's name of it.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),  # bare codestream
)
_UNREAD_SIGNATURES = (b"8BPS", b"qoif", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\x76\x2f\x31\x01", b"\0\0\1\0")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, as it is displayed."""

    rgb: Picture  # (H, W, 3), upright
    format: str  # Pillow's name: JPEG, PNG, WEBP, ...
    mode: str  # Pillow's name of the stored pixels: RGB, L, CMYK, P, I;16, ...
    orientation: int  # EXIF 1..8 as stored; applied to `rgb`

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
    if picture_format == "JPEG":
        rgb, header = jpeg.decode_jpeg(data, settings)
        return Decoded(upright(rgb, header.orientation), "JPEG", header.mode, header.orientation)
    rgb, raster = decode_raster(data, picture_format, settings)
    turn = jpeg.UPRIGHT if raster.is_turned else raster.orientation
    return Decoded(upright(rgb, turn), picture_format, raster.mode, raster.orientation)


def sniff(data: bytes) -> str:
    """Pillow's name of the format, from the first bytes.

    Raises:
        DecodeError: the bytes are no image, or of a format that is not supported.
    """
    if data.startswith(jpeg.SIGNATURE):
        return "JPEG"
    for signature, picture_format in _SIGNATURES:
        if data.startswith(signature):
            return picture_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"
    brands = _brands(data)
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if brands & _HEIF_BRANDS and reads_heif():
        return "HEIF"
    if brands & _HEIF_BRANDS or data.startswith(_UNREAD_SIGNATURES):
        raise DecodeError(UNSUPPORTED_FORMAT, f"opens with {data[:12]!r}")
    raise DecodeError(NOT_AN_IMAGE, f"opens with {data[:12]!r}")


def upright(rgb: Picture, orientation: int) -> Picture:
    """Apply an EXIF orientation 1..8 (EXIF 2.32, tag 0x0112) to (H, W, 3); 5 to 8 swap the sides."""
    if orientation >= 5:
        rgb = rgb.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)


def _brands(data: bytes) -> frozenset[bytes]:
    """The brands of an ISO base media file (ISO/IEC 14496-12, box `ftyp`); empty for other files."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return frozenset(data[start : start + 4] for start in (8, *range(16, end, 4)))
