"""Strict decoding of JPEG: a warning of libjpeg is damage, unless the picture is sound without the fault of form.

Ordinary decoders fill damaged parts with grey without an error, so damaged pictures would enter training unnoticed.
"""

import io
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from pipelines.arrays import Picture
from pipelines.decode_faults import CORRUPT, TOO_MANY_SCANS, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.formats.exif import UPRIGHT, stored_orientation
from pipelines.formats.jpeg_form import is_of_form, rewrite
from pipelines.formats.jpeg_leftover import cut_leftovers
from pipelines.formats.jpeg_markers import (
    APP1,
    END_OF_IMAGE,
    EXIF,
    FRAMES,
    SIGNATURE,
    START_OF_SCAN,
    count_scans,
    most_scans,
    segment_at,
)
from pipelines.settings import PixelSettings

_FRAMES_READ = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive, all Huffman coded
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Not damage, but a chroma subsampling that TurboJPEG does not support.
_ODD_SAMPLING = "Could not determine subsampling"


@dataclass(frozen=True)
class JpegHeader:
    """The content of the markers before the first scan, and the number of faults of form of the whole."""

    width: int
    height: int
    mode: str  # L, RGB or CMYK
    orientation: int  # EXIF 1..8
    warnings: int = 0  # faults of form that touch no pixel; known after decoding


def decode_jpeg(data: bytes, settings: PixelSettings) -> tuple[Picture, JpegHeader]:
    """Decode to RGB (H, W, 3) as stored, without applying the orientation.

    Bytes after the end of the picture are no fault: phones append videos there.

    Raises:
        DecodeError: the picture is damaged, of an unsupported coding, or above a limit.
    """
    header = read_header(data)
    check_size(header.width, header.height, settings)
    if most_scans(data) > settings.max_scans and (num_scans := count_scans(data)) > settings.max_scans:
        raise DecodeError(TOO_MANY_SCANS, f"has {num_scans} scans; max_scans is {settings.max_scans}")
    try:
        return _decode(data, header), header
    except ValueError as error:
        if not is_of_form(str(error)):
            raise _named(error) from None
    try:
        draft = rewrite(data)
        cut_leftovers(draft, _colorspace(header))
        return _decode(draft.joined(), header), replace(header, warnings=max(1, draft.num_faults))
    except ValueError as error:
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
        marker, start, position, _ = segment_at(data, position)
        if marker == START_OF_SCAN:
            break
        if marker == END_OF_IMAGE:
            raise DecodeError(CORRUPT, "ends before the first scan")
        if marker in FRAMES:
            frame = data[start:position]
            if marker not in _FRAMES_READ or frame[:1] != b"\x08":
                raise DecodeError(
                    UNSUPPORTED_CODING, f"SOF{marker - 0xC0} with {frame[:1].hex()} (hex) bits per sample"
                )
        elif marker == APP1 and data.startswith(EXIF, start):
            orientation = stored_orientation(data[start + len(EXIF) : position])
    if frame is None or len(frame) < 6:
        raise DecodeError(CORRUPT, "no frame header before the first scan")
    height, width, num_components = struct.unpack_from(">HHB", frame, 1)
    if num_components not in _MODES:
        raise DecodeError(UNSUPPORTED_CODING, f"{num_components} colour components")
    return JpegHeader(width=width, height=height, mode=_MODES[num_components], orientation=orientation)


def _decode(data: bytes, header: JpegHeader) -> Picture:
    """Decode strictly; a warning of libjpeg raises a ValueError."""
    try:
        picture = simplejpeg.decode_jpeg(data, colorspace=_colorspace(header), strict=True)
    except ValueError as error:
        if _ODD_SAMPLING not in str(error):
            raise
        return _decode_leniently(data)
    # The strict pass only checks for damage; Pillow handles the inverted CMYK of Adobe.
    return _decode_leniently(data) if header.mode == "CMYK" else picture


def _colorspace(header: JpegHeader) -> str:
    return "CMYK" if header.mode == "CMYK" else "RGB"


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
