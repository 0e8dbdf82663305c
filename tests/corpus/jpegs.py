"""JPEG (ITU-T T.81): warnings of form that touch no pixel, damage that does, and what phones append or misspell."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from .case import DAMAGED, TOO_LARGE, UNSUPPORTED, Case, Pixels, cut, draw, sound

_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {"quality": 90, "subsampling": 2}),
    "full-colour": ("RGB", {"quality": 95, "subsampling": 0}),
    "progressive": ("RGB", {"quality": 90, "progressive": True}),
    "grey": ("L", {"quality": 90}),
    "restarts": ("RGB", {"quality": 90, "restart_marker_blocks": 2}),
}
_END = b"\xff\xd9"


def cases() -> Iterator[Case]:
    """All files of this format."""
    for kind, (mode, options) in _KINDS.items():
        picture = draw(f"jpeg-{kind}")
        data = _encode(picture, mode, **options)
        shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        yield sound(f"{kind}.jpg", data, shown)
        for name, changed in _forms(data).items():
            yield sound(f"{kind}-{name}.jpg", changed, shown)
        yield from cut(f"{kind}.jpg", data)
        for name, changed in _damages(data).items():
            yield Case(f"{kind}-{name}.jpg", changed, DAMAGED)
    yield from _orientations()
    baseline = _encode(draw("jpeg-codings"), "RGB", quality=90)
    for code, name in ((0xC3, "lossless"), (0xC9, "arithmetic"), (0xC5, "hierarchical")):
        yield Case(f"{name}.jpg", baseline.replace(b"\xff\xc0", bytes([0xFF, code]), 1), UNSUPPORTED)
    place = baseline.index(b"\xff\xc0")
    yield Case("12-bit.jpg", baseline[: place + 4] + b"\x0c" + baseline[place + 5 :], UNSUPPORTED)
    bomb = baseline[: place + 5] + struct.pack(">HH", 65_000, 65_000) + baseline[place + 9 :]
    yield Case("bomb.jpg", bomb, TOO_LARGE)
    yield Case("only-a-start.jpg", b"\xff\xd8\xff", DAMAGED)


def _encode(picture: Pixels, mode: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _forms(data: bytes) -> dict[str, bytes]:
    """Changes to the form alone; every decoder gives the same pixels for them."""
    assert data[2:4] == b"\xff\xe0"
    assert data[6:11] == b"JFIF\0"
    after_jfif = 4 + int.from_bytes(data[4:6], "big")
    film = b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()
    return {
        "jfif-2": data[:11] + b"\2" + data[12:],
        "bytes-before-the-end": data[:-2] + b"\x12\x34" + _END,
        "zeros-between-segments": data[:after_jfif] + bytes(7) + data[after_jfif:],
        "fill-bytes": data[:after_jfif] + b"\xff\xff\xff" + data[after_jfif:],
        "broken-icc": data[:after_jfif] + _segment(0xE2, b"ICC_PROFILE\0\7\3nonsense") + data[after_jfif:],
        "empty-exif": data[:after_jfif] + _segment(0xE1, b"Exif\0\0") + data[after_jfif:],
        "comment": data[:after_jfif] + _segment(0xFE, b"a" * 300) + data[after_jfif:],
        "film-after-the-end": data + film,
        "picture-after-the-end": data + data,
        "zeros-after-the-end": data + bytes(5_000),
    }


def _damages(data: bytes) -> dict[str, bytes]:
    """Changes after which pixels are missing."""
    scan = data.rindex(b"\xff\xda")
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    middle = (start + len(data)) // 2
    return {
        "early-end": data[:middle] + _END,
        "no-scan": data[: data.index(b"\xff\xda")] + _END,
        "no-end-in-the-scan": data[:middle],
        "early-end-and-the-rest": data[:middle] + _END + data[middle:],
        "no-tables": data[:2] + data[data.index(b"\xff\xda") :],
    }


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _orientations() -> Iterator[Case]:
    """The orientation as BYTE (1), SHORT (3) and LONG (4), in both byte orders."""
    picture = draw("jpeg-orientation")
    data = _encode(picture, "RGB", quality=95)
    shown = np.asarray(Image.open(io.BytesIO(data)))
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        for kind, form in ((1, "B3x"), (3, "H2x"), (4, "I")):
            for orientation in (1, 3, 6, 8):
                entry = struct.pack(f"{order}HHI{form}", 0x0112, kind, 1, orientation)
                exif = b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)
                turned = np.rot90(shown, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
                name = f"turned-{orientation}-{kind}-{'big' if order == '>' else 'little'}.jpg"
                yield sound(name, data[:2] + _segment(0xE1, exif) + data[2:], turned)
