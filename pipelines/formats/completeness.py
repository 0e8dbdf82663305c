"""Checks beside Pillow's decoders: for what they take for whole although pixels are missing, or refuse as damaged."""

import struct

from pipelines.decode_faults import TRUNCATED, DecodeError, check_size
from pipelines.settings import PixelSettings

_PLAIN_PNM = (b"P1", b"P2", b"P3")
_SIZE_BOX = b"ispe"  # of HEIF (ISO/IEC 23008-12, 6.5.3): version and flags, width, height
_SIZE_BOX_BYTES = 16


def check_pnm(data: bytes) -> None:
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
