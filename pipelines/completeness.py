"""Checks beside Pillow's decoders: for what they take for whole although pixels are missing, or refuse as damaged."""

import math
import struct

from pipelines.decode_faults import CORRUPT, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.settings import PixelSettings

# JPEG 2000: ISO/IEC 15444-1, annex A.
_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ
_START_OF_TILE, _END_OF_CODESTREAM = b"\xff\x90", b"\xff\xd9"
_CODESTREAM_BOX = b"jp2c"
_MAX_COMPONENTS, _MAX_BITS = 4, 16

_PLAIN_PNM = (b"P1", b"P2", b"P3")
_SIZE_BOX = b"ispe"  # of HEIF (ISO/IEC 23008-12, 6.5.3): version and flags, width, height
_SIZE_BOX_BYTES = 16


def check_jpeg2000(data: bytes, settings: PixelSettings) -> None:
    """Walk the tile parts of a JPEG 2000: every tile is there, and the codestream has its end.

    Raises:
        DecodeError: OpenJPEG would fill what is missing with black; or the size is above a limit, or the samples are of
            an unsupported kind.
    """
    position = _codestream_start(data)
    num_tiles = _check_header(data, position, settings)
    position += 2
    found: set[int] = set()
    while data[position : position + 2] != _END_OF_CODESTREAM:
        if position + 12 > len(data):
            raise DecodeError(TRUNCATED, f"the codestream ends after {len(found)} of {num_tiles} tiles")
        if data.startswith(_START_OF_TILE, position):
            tile, length = struct.unpack_from(">HI", data, position + 4)
            found.add(tile)
            if length == 0:  # the last one, up to the end
                if data.rfind(_END_OF_CODESTREAM, position) < 0:
                    raise DecodeError(TRUNCATED, "the codestream has no end")
                break
            position += max(length, 12)
        else:  # of the main header
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    if len(found) < num_tiles:
        raise DecodeError(CORRUPT, f"the codestream has {len(found)} of {num_tiles} tiles")


def check_pnm(data: bytes, _: PixelSettings) -> None:
    """Check the end of a PNM in decimal digits: cut inside its last number, it would still have all of them.

    Raises:
        DecodeError: no white space follows the last digit, as the specification asks.
    """
    if data.startswith(_PLAIN_PNM[1:]) and data[-1:].isdigit():
        raise DecodeError(TRUNCATED, "ends inside or directly after a number")


def check_item_sizes(data: bytes, settings: PixelSettings) -> None:
    """Check the sizes that the items of a HEIF or AVIF declare.

    Raises:
        DecodeError: one is above a limit.
    """
    position = data.find(_SIZE_BOX)
    while 0 <= position <= len(data) - _SIZE_BOX_BYTES:
        width, height = struct.unpack_from(">II", data, position + 8)
        check_size(width, height, settings)
        position = data.find(_SIZE_BOX, position + _SIZE_BOX_BYTES)


def _codestream_start(data: bytes) -> int:
    """The position of the codestream: the start, or the content of the box `jp2c`."""
    if data.startswith(_CODESTREAM):
        return 0
    position = 0
    while position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        if kind == _CODESTREAM_BOX:
            return position + head
        if length < head:
            break
        position += length
    raise DecodeError(TRUNCATED, "ends before the codestream")


def _check_header(data: bytes, start: int, settings: PixelSettings) -> int:
    """The number of tiles that the marker SIZ declares."""
    if not data.startswith(_CODESTREAM, start) or start + 42 > len(data):
        raise DecodeError(TRUNCATED if start + 42 > len(data) else CORRUPT, "the codestream has no header")
    right, bottom, left, top, tile_width, tile_height, first_x, first_y, num_components = struct.unpack_from(
        ">8IH", data, start + 8
    )
    check_size(right - left, bottom - top, settings)
    depths = data[start + 42 : start + 42 + 3 * num_components : 3]
    if not 1 <= num_components <= _MAX_COMPONENTS or any(depth & 0x80 or depth >= _MAX_BITS for depth in depths):
        raise DecodeError(UNSUPPORTED_CODING, f"{num_components} components, bits (hex) {depths[:8].hex(' ')}")
    if 0 in (tile_width, tile_height):
        raise DecodeError(CORRUPT, "declares tiles without a size")
    num_tiles: int = math.ceil((right - first_x) / tile_width) * math.ceil((bottom - first_y) / tile_height)
    return num_tiles
