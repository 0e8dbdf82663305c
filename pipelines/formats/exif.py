"""The orientation in EXIF (EXIF 2.32, tag 0x0112): a TIFF directory of its own inside JPEG, PNG, WebP and AVIF."""

import struct

ORIENTATION_TAG = 0x0112
UPRIGHT = 1

# The specification asks for SHORT; some writers store another integer. Type -> letter of `struct`.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


def stored_orientation(exif: bytes) -> int:
    """The orientation 1..8 of the first directory; upright where it is absent or invalid, as the pixels are sound.

    Args:
        exif: the content from the byte order mark (II or MM) on.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return UPRIGHT
    (directory,) = struct.unpack_from(f"{order}I", exif, 4)
    if directory + 2 > len(exif):
        return UPRIGHT
    (num_entries,) = struct.unpack_from(f"{order}H", exif, directory)
    for entry in range(directory + 2, min(directory + 2 + 12 * num_entries, len(exif) - 11), 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", exif, entry)
        if tag == ORIENTATION_TAG:
            return _valid(exif, entry + 8, f"{order}{_INTEGERS[kind]}") if kind in _INTEGERS and count == 1 else UPRIGHT
    return UPRIGHT


def _valid(exif: bytes, position: int, layout: str) -> int:
    (value,) = struct.unpack_from(layout, exif, position)
    return int(value) if 1 <= value <= 8 else UPRIGHT
