"""Strict decoding of JPEG: everything that libjpeg only warns about counts as damage.

Ordinary decoders fill damaged parts with grey without an error, so damaged pictures would enter training unnoticed.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from pipelines.arrays import Picture
from pipelines.decode_faults import CORRUPT, TOO_MANY_SCANS, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.exif import UPRIGHT, stored_orientation
from pipelines.settings import PixelSettings

SIGNATURE = b"\xff\xd8"

_STUFFING = 0xFF
_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_EXIF = b"Exif\0\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # every SOF marker
_FRAMES_READ = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive, all Huffman coded
_STANDALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length; none belongs before the first scan
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Not damage, but a chroma subsampling that TurboJPEG does not support.
_ODD_SAMPLING = "Could not determine subsampling"


@dataclass(frozen=True)
class JpegHeader:
    """The content of the markers before the first scan."""

    width: int
    height: int
    mode: str  # L, RGB or CMYK
    orientation: int  # EXIF 1..8


def decode_jpeg(data: bytes, settings: PixelSettings) -> tuple[Picture, JpegHeader]:
    """Decode to RGB (H, W, 3) as stored, without applying the orientation.

    Bytes after the end of the picture are no fault: phones append videos there.

    Raises:
        DecodeError: the picture is damaged, of an unsupported coding, or above a limit.
    """
    header = read_header(data)
    check_size(header.width, header.height, settings)
    num_scans = count_scans(data)
    if num_scans > settings.max_scans:
        raise DecodeError(TOO_MANY_SCANS, f"has {num_scans} scans; max_scans is {settings.max_scans}")
    if header.mode == "CMYK":
        return _decode_cmyk(data), header
    try:
        return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True), header
    except ValueError as error:
        if _ODD_SAMPLING in str(error):
            return _decode_leniently(data), header
        raise _named(error) from None


def read_header(data: bytes) -> JpegHeader:
    """Walk the markers up to the first scan.

    Raises:
        DecodeError: the sequence of markers is broken, or the coding is not supported.
    """
    frame: bytes | None = None
    orientation = UPRIGHT
    position = len(SIGNATURE)
    while True:
        marker, start, end = _segment(data, position)
        if marker == _START_OF_SCAN:
            break
        if marker in _FRAMES:
            frame = data[start:end]
            if marker not in _FRAMES_READ or frame[:1] != b"\x08":
                raise DecodeError(
                    UNSUPPORTED_CODING, f"SOF{marker - 0xC0} with {frame[:1].hex()} (hex) bits per sample"
                )
        elif marker == _APP1 and data.startswith(_EXIF, start):
            orientation = stored_orientation(data[start + len(_EXIF) : end])
        position = end
    if frame is None or len(frame) < 6:
        raise DecodeError(CORRUPT, "no frame header before the first scan")
    height, width, num_components = struct.unpack_from(">HHB", frame, 1)
    if num_components not in _MODES:
        raise DecodeError(UNSUPPORTED_CODING, f"{num_components} colour components")
    return JpegHeader(width=width, height=height, mode=_MODES[num_components], orientation=orientation)


def count_scans(data: bytes) -> int:
    """The number of scans of a JPEG; each visits all coefficients of the picture, however few bytes it has."""
    # Inside a scan FF is always followed by 00 or a restart marker, so this counts markers, and harmlessly a few equal
    # bytes in metadata.
    return data.count(b"\xff\xda")


def _segment(data: bytes, position: int) -> tuple[int, int, int]:
    """The marker at a position, and the start and end of its content."""
    try:
        if data[position] != _STUFFING:
            raise DecodeError(CORRUPT, f"no marker at byte {position}")
        while data[position] == _STUFFING:
            position += 1
        marker = data[position]
        if marker == 0 or marker in _STANDALONE:
            raise DecodeError(CORRUPT, f"marker {marker:02x} (hex) at byte {position} before the first scan")
        length = data[position + 1] << 8 | data[position + 2]
    except IndexError:
        raise DecodeError(TRUNCATED, "ends before the first scan") from None
    end = position + 1 + length
    if length < 2:
        raise DecodeError(CORRUPT, f"marker {marker:02x} (hex) at byte {position} has length {length}")
    if end > len(data):
        raise DecodeError(TRUNCATED, "ends before the first scan")
    return marker, position + 3, end


def _decode_cmyk(data: bytes) -> Picture:
    try:
        simplejpeg.decode_jpeg(data, colorspace="CMYK", strict=True)
    except ValueError as error:
        if _ODD_SAMPLING not in str(error):
            raise _named(error) from None
    # The strict pass only checks for damage; Pillow handles the inverted CMYK of Adobe.
    return _decode_leniently(data)


def _decode_leniently(data: bytes) -> Picture:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            return np.asarray(picture.convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises nearly any class on a damaged file
        raise _named(error) from None


def _named(error: Any) -> DecodeError:
    words = str(error)
    if "Premature end of JPEG file" in words or "truncated" in words.lower():
        return DecodeError(TRUNCATED, words)
    # The header was sound, so an unknown marker is damage inside the scan.
    is_foreign = words.startswith("Unsupported") and not words.startswith("Unsupported marker")
    return DecodeError(UNSUPPORTED_CODING if is_foreign else CORRUPT, words)
