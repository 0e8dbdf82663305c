"""Files that are no supported picture, each to be refused by its name: other formats of pictures, and no pictures."""

import io
import struct
import zipfile
from collections.abc import Iterator

from PIL import Image

from .case import EMPTY, NO_IMAGE, UNSUPPORTED, Case, draw

_BY_PILLOW = {"tga": "TGA", "dds": "DDS", "pcx": "PCX", "sgi": "SGI", "ico": "ICO"}
# Openings that tell a format, by the formats' own documents; zeros follow.
_OPENINGS = {
    "psd": b"8BPS\0\1",
    "qoi": b"qoif\0\0\0\x40\0\0\0\x30\3\0",
    "jxl": b"\0\0\0\x0cJXL \r\n\x87\n",
    "codestream.jxl": b"\xff\x0a",
    "exr": b"v/1\1\2\0\0\0",
    "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 48 +X 64\n",
    "icns": b"icns\0\0\1\0ic07\0\0\0\xf8",
    "xcf": b"gimp xcf v011\0",
    "fits": b"SIMPLE  =                    T",
    "raf": b"FUJIFILMCCD-RAW 0201FF393101",
    "orf": b"IIRO\x08\0\0\0",
    "rw2": b"IIU\0\x18\0\0\0",
    "cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "x3f": b"FOVb\0\0\2\0",
}


def cases() -> Iterator[Case]:
    """All of these files."""
    for extension, name in _BY_PILLOW.items():
        buffer = io.BytesIO()
        Image.fromarray(draw(extension)).save(buffer, name)
        yield Case(f"other.{extension}", buffer.getvalue(), UNSUPPORTED)
    for extension, opening in _OPENINGS.items():
        yield Case(f"other.{extension}", opening.ljust(4_096, b"\0"), UNSUPPORTED)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.txt", "a" * 300)
    others = {
        "notes.txt": b"These are notes of no picture.\n" * 20,
        "page.html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "archive.zip": archive.getvalue(),
        "data.json": b'{"error": "not found"}',
        "zeros.jpg": bytes(3_000),
        "program.exe": b"MZ" + bytes(500),
        "elf": b"\x7fELF\2\1\1" + bytes(500),
        "numbers.npy": b"\x93NUMPY\1\0"
        + struct.pack("<H", 70)
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (4,)}".ljust(70),
    }
    for name, data in others.items():
        yield Case(name, data, NO_IMAGE)
    yield Case("empty.jpg", b"", EMPTY)
