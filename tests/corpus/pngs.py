"""PNG (ISO/IEC 15948), written chunk by chunk: every colour type and depth, and damage under right checksums."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .case import DAMAGED, TOO_LARGE, Case, cut, draw, sound

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _RGBA = 0, 2, 3, 6
# Adam7: first row, first column, and the steps between them, of the seven passes.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def cases() -> Iterator[Case]:
    """All files of this format."""
    yield from _sound()
    for mode in ("grey", "rgb", "exif"):
        yield from _damaged(mode)
    yield Case("bomb.png", _png(_header(30_000, 30_000, 8, _RGB), zlib.compress(bytes(1000))), TOO_LARGE)
    yield Case("long-side.png", _png(_header(70_000, 2, 8, _GREY), zlib.compress(bytes(2 * 70_001))), TOO_LARGE)
    yield Case("no-pixels.png", _png(_header(0, 10, 8, _GREY), zlib.compress(b"")), DAMAGED)


def _sound() -> Iterator[Case]:
    for bits in (1, 2, 4, 8, 16):
        levels, shown = _levels(f"grey-{bits}", bits)
        for interlaced in (False, True):
            name = f"grey-{bits}{'-interlaced' * interlaced}.png"
            yield sound(name, _grey_png(levels, bits, interlaced=interlaced), shown)
    for bits in (1, 2, 4, 8):
        levels, _ = _levels(f"palette-{bits}", bits)
        colours = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3), dtype=np.uint8)
        palette = _chunk(b"PLTE", colours.tobytes())
        height, width = levels.shape
        body = zlib.compress(_rows(_packed(levels, bits)))
        yield sound(f"palette-{bits}.png", _png(_header(width, height, bits, _PALETTE), body, palette), colours[levels])
    rgb = draw("png-rgb")
    for interlaced in (False, True):
        for name, extra in (
            ("plain", b""),
            ("exif", _chunk(b"eXIf", _exif())),
            ("gamma", _chunk(b"gAMA", b"\0\0\xb1\x8f")),
        ):
            yield sound(f"rgb-{name}{'-interlaced' * interlaced}.png", _rgb_png(rgb, extra, interlaced=interlaced), rgb)
    deep = _png(
        _header(64, 48, 16, _RGB), zlib.compress(_rows((rgb.astype(">u2") * 257).reshape(48, -1).view(np.uint8)))
    )
    yield sound("rgb-16.png", deep, rgb)
    opaque = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    yield sound("rgba.png", _png(_header(64, 48, 8, _RGBA), zlib.compress(_rows(opaque.reshape(48, -1)))), rgb)
    yield sound("many-idats.png", _in_pieces(rgb, 100), rgb)
    yield sound("after-the-end.png", _rgb_png(rgb) + b"appended" * 50, rgb)
    for filter_type in range(5):
        yield sound(f"filter-{filter_type}.png", _with_pillow(rgb, filter_type), rgb)


def _damaged(mode: str) -> Iterator[Case]:
    picture = draw(f"png-{mode}")
    if mode == "grey":
        head, raw, extra = _header(64, 48, 8, _GREY), _rows(picture[:, :, 0]), b""
    else:
        head, raw = _header(64, 48, 8, _RGB), _rows(picture.reshape(48, -1))
        extra = _chunk(b"eXIf", _exif()) if mode == "exif" else b""
    row_bytes = len(raw) // 48
    packed = zlib.compress(raw)
    bad_filter = bytearray(raw)
    bad_filter[30 * row_bytes] = 77
    zeroed = {place: packed[:place] + bytes(12) + packed[place + 12 :] for place in (20, len(packed) // 2)}
    bodies = {
        "text": b"hello world" * 20,
        "bad-filter": zlib.compress(bytes(bad_filter)),
        "wrong-adler": packed[:-4] + b"\1\2\3\4",
        "no-adler": packed[:-4],
        "half-of-the-rows": zlib.compress(raw[: 24 * row_bytes]),
        "one-byte-short": zlib.compress(raw[:-1]),
        "half-of-the-stream": packed[: len(packed) // 2],
        "empty": b"",
        "wrong-method": b"\x79" + packed[1:],
        **{f"zeroed-{place}": body for place, body in zeroed.items()},
    }
    for name, body in bodies.items():
        yield Case(f"{mode}-{name}.png", _png(head, body, extra), DAMAGED)
    whole = _png(head, packed, extra)
    yield from cut(f"{mode}.png", whole)
    yield Case(f"{mode}-no-end.png", whole[:-12], DAMAGED)
    yield Case(f"{mode}-no-pixel-data.png", _SIGNATURE + _chunk(b"IHDR", head) + extra + _chunk(b"IEND", b""), DAMAGED)
    for place in (0.4, 0.8):
        flipped = bytearray(whole)
        flipped[int(len(whole) * place)] ^= 4
        yield Case(f"{mode}-flipped-{place:g}.png", bytes(flipped), DAMAGED)


def _header(width: int, height: int, bits: int, colour: int, *, interlaced: bool = False) -> bytes:
    return struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(header: bytes, body: bytes, extra: bytes = b"") -> bytes:
    return _SIGNATURE + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _levels(seed: str, bits: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Stored grey levels (48, 61), a width that fills no byte, and the 8 bits that show them."""
    levels = (draw(seed, width=61)[:, :, 0].astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    return levels, np.round(levels / ((1 << bits) - 1) * 255).astype(np.uint8)


def _packed(levels: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    if bits == 16:
        return levels.astype(">u2").view(np.uint8)
    unpacked = np.unpackbits(levels.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
    return np.packbits(unpacked.reshape(len(levels), -1), axis=1)


def _rows(rows: NDArray[np.uint8]) -> bytes:
    """Each row after the filter type 0."""
    return np.hstack([np.zeros((len(rows), 1), np.uint8), rows]).tobytes()


def _grey_png(levels: NDArray[np.uint16], bits: int, *, interlaced: bool) -> bytes:
    height, width = levels.shape
    if not interlaced:
        return _png(_header(width, height, bits, _GREY), zlib.compress(_rows(_packed(levels, bits))))
    parts = [levels[top::down, left::right] for top, left, down, right in _PASSES]
    raw = b"".join(_rows(_packed(np.ascontiguousarray(part), bits)) for part in parts if part.size)
    return _png(_header(width, height, bits, _GREY, interlaced=True), zlib.compress(raw))


def _rgb_png(rgb: NDArray[np.uint8], extra: bytes = b"", *, interlaced: bool = False) -> bytes:
    height, width, _ = rgb.shape
    parts = [rgb[top::down, left::right] for top, left, down, right in _PASSES] if interlaced else [rgb]
    raw = b"".join(_rows(np.ascontiguousarray(part).reshape(len(part), -1)) for part in parts)
    return _png(_header(width, height, 8, _RGB, interlaced=interlaced), zlib.compress(raw), extra)


def _in_pieces(rgb: NDArray[np.uint8], num_bytes: int) -> bytes:
    packed = zlib.compress(_rows(rgb.reshape(len(rgb), -1)))
    pieces = [_chunk(b"IDAT", packed[start : start + num_bytes]) for start in range(0, len(packed), num_bytes)]
    return _SIGNATURE + _chunk(b"IHDR", _header(64, 48, 8, _RGB)) + b"".join(pieces) + _chunk(b"IEND", b"")


def _with_pillow(rgb: NDArray[np.uint8], level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def _exif() -> bytes:
    """Big-endian, one entry: ImageDescription "a"."""
    return b"MM\0*\0\0\0\x08\0\1\x01\x0e\0\2\0\0\0\2a\0\0\0\0\0\0\0"
