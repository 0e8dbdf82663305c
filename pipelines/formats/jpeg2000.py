"""The check of a JPEG 2000 before its decoding: every tile is there, and the samples are of a kind that is read right.

OpenJPEG fills what is missing with black. Pillow scales more than 8 bits so that white overflows to black, and
fewer than 8 bits so that white is grey. Annexes are those of ISO/IEC 15444-1.
"""

import math
import struct
from dataclasses import dataclass

from pipelines.decode_faults import CORRUPT, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.settings import PixelSettings

# Annex A: the first two markers (SOC, SIZ), the start of a tile part, and the end.
_CODESTREAM = b"\xff\x4f\xff\x51"
_START_OF_TILE, _END_OF_CODESTREAM = b"\xff\x90", b"\xff\xd9"
_CODESTREAM_BOX = b"jp2c"
# Annex I: method 1, and the colours of sYCC.
_YCC = b"colr\x01\x00\x00\x00\x00\x00\x12"
_BITS = frozenset(range(8, 17))
_COMPONENTS = frozenset({1, 2, 3, 4})


@dataclass(frozen=True)
class Jpeg2000Header:
    """The kind of the samples."""

    num_components: int  # 1 to 4: grey, RGB, and either with an opacity
    bits: int  # 8 to 16, the same in every component

    @property
    def is_wide(self) -> bool:
        """True for more than 8 bits, which Pillow does not scale right."""
        return self.bits > 8


def check_jpeg2000(data: bytes, settings: PixelSettings) -> Jpeg2000Header:
    """Walk the tile parts of a JPEG 2000: every tile is there, and the codestream has its end.

    Raises:
        DecodeError: OpenJPEG would fill what is missing with black; or the size is above a limit, or the samples are of
            an unsupported kind.
    """
    position = _codestream_start(data)
    header, num_tiles = _read_header(data, position, settings)
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
    return header


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


def _read_header(data: bytes, start: int, settings: PixelSettings) -> tuple[Jpeg2000Header, int]:
    """The kind of the samples, and the number of tiles, as the marker SIZ declares them."""
    if not data.startswith(_CODESTREAM, start) or start + 42 > len(data):
        raise DecodeError(TRUNCATED if start + 42 > len(data) else CORRUPT, "the codestream has no header")
    right, bottom, left, top, tile_width, tile_height, first_x, first_y, num_components = struct.unpack_from(
        ">8IH", data, start + 8
    )
    check_size(right - left, bottom - top, settings)
    if start + 42 + 3 * num_components > len(data):
        raise DecodeError(TRUNCATED, "ends inside the header of the codestream")
    depths = data[start + 42 : start + 42 + 3 * num_components : 3]
    header = Jpeg2000Header(num_components, depths[0] + 1 if depths else 0)
    is_read = num_components in _COMPONENTS and header.bits in _BITS and set(depths) == {header.bits - 1}
    # Of wide samples OpenCV reads grey and RGB, the latter with an opacity too.
    if not is_read or (header.is_wide and (num_components == 2 or _YCC in data[:start])):
        raise DecodeError(UNSUPPORTED_CODING, f"{num_components} components, bits (hex) {depths[:8].hex(' ')}")
    if 0 in (tile_width, tile_height):
        raise DecodeError(CORRUPT, "declares tiles without a size")
    num_tiles: int = math.ceil((right - first_x) / tile_width) * math.ceil((bottom - first_y) / tile_height)
    return header, num_tiles
