"""TIFF 6.0 and BMP written byte by byte with planted pixels; GIF, WebP and PNM; their cut files."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from .case import DAMAGED, TOO_LARGE, UNSUPPORTED, Case, Pixels, cut, draw, sound

_Tags = dict[int, tuple[int, tuple[int, ...]]]  # number -> type, values
_SHORT, _LONG = 3, 4
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3


def cases() -> Iterator[Case]:
    """All files of these formats."""
    yield from _tiffs()
    yield from _bmps()
    yield from _others()


def _tiffs() -> Iterator[Case]:
    rgb = draw("tiff")
    grey = rgb[:, :, 0]
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        for mode in ("L", "RGB"):
            shown = grey if mode == "L" else rgb
            yield sound(f"{mode}-{compression or 'plain'}.tif", _pillow(shown, "TIFF", compression=compression), shown)
    for order in "<>":
        which = "little" if order == "<" else "big"
        deep = grey.astype(f"{order}u2") * 257
        yield sound(f"grey-16-{which}.tif", _tiff(deep.tobytes(), _grey(16), order), grey)
        black = (65_535 - deep).astype(f"{order}u2").tobytes()
        tiff = _tiff(black, _grey(16, _WHITE_IS_ZERO), order)
        yield _read_or_unsupported(f"white-is-zero-16-{which}.tif", tiff, grey)
    yield sound("white-is-zero-8.tif", _tiff((255 - grey).tobytes(), _grey(8, _WHITE_IS_ZERO)), grey)
    colours = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    right = tuple(int(value) * 257 for value in colours.T.ravel())
    few = tuple(int(value) for value in colours.T.ravel())  # eight bits where sixteen belong
    for name, table in (("16", right), ("8", few)):
        tags = _grey(8, _PALETTE) | {320: (_SHORT, table)}
        yield sound(f"palette-of-{name}-bits.tif", _tiff(grey.tobytes(), tags), colours[grey])
    planes = b"".join((rgb[:, :, channel].astype("<u2") * 257).tobytes() for channel in range(3))
    yield _read_or_unsupported("planar-16.tif", _tiff(planes, _colour(16, planar=True), planes=3), rgb)
    twelve = _in_twelve_bits((grey.astype(np.uint32) * 4095 + 127) // 255)
    yield _read_or_unsupported("grey-12.tif", _tiff(twelve, _grey(12)), grey)
    real = (grey / 255).astype("<f4").tobytes()
    yield Case("float.tif", _tiff(real, _grey(32) | {339: (_SHORT, (3,))}), UNSUPPORTED)
    yield Case("complex.tif", _tiff(real * 2, _grey(64) | {339: (_SHORT, (6,))}), UNSUPPORTED)
    yield Case("thumbnail-of-a-raw.tif", _camera_raw(rgb), UNSUPPORTED)
    yield Case("camera.cr2", _tiff(b"CR\2\0" + rgb.tobytes()[4:], _colour(8)), UNSUPPORTED)
    yield Case("bomb.tif", _tiff(b"", _grey(8), size=(40_000, 40_000)), TOO_LARGE)
    yield from cut("plain.tif", _tiff(rgb.tobytes(), _colour(8)))
    yield from cut("lzw.tif", _pillow(rgb, "TIFF", compression="tiff_lzw"))


def _read_or_unsupported(name: str, data: bytes, rgb: Pixels) -> Case:
    """A rare coding: its pixels if they are right, else its refusal by name."""
    case = sound(name, data, rgb)
    return Case(case.name, case.data, case.decode | UNSUPPORTED, case.grey, case.size)


def _grey(bits: int, photometric: int = _BLACK_IS_ZERO) -> _Tags:
    return {258: (_SHORT, (bits,)), 262: (_SHORT, (photometric,)), 277: (_SHORT, (1,))}


def _colour(bits: int, *, planar: bool = False) -> _Tags:
    configuration = (_SHORT, (2 if planar else 1,))
    return {258: (_SHORT, (bits,) * 3), 262: (_SHORT, (_RGB,)), 277: (_SHORT, (3,)), 284: configuration}


def _tiff(
    pixels: bytes,
    tags: _Tags,
    order: str = "<",
    *,
    size: tuple[int, int] = (64, 48),
    planes: int = 1,
    after: bytes = b"",
) -> bytes:
    """One strip for each plane, then the directory; uncompressed."""
    each = len(pixels) // planes
    tags = tags | {
        256: (_LONG, (size[0],)),
        257: (_LONG, (size[1],)),
        259: (_SHORT, (1,)),
        273: (_LONG, tuple(8 + each * plane for plane in range(planes))),
        278: (_LONG, (size[1],)),
        279: (_LONG, (each,) * planes),
    }
    start = 8 + len(pixels) + len(pixels) % 2
    values_at = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for number, (kind, content) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(content)}{'H' if kind == _SHORT else 'I'}", *content)
        if len(packed) > 4:
            field = struct.pack(f"{order}I", values_at + len(values))
            values += packed + bytes(len(packed) % 2)
        else:
            field = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", number, kind, len(content)) + field
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    head = mark + struct.pack(f"{order}I", start)
    return head + pixels + bytes(len(pixels) % 2) + directory + values + after


def _camera_raw(rgb: Pixels) -> bytes:
    """A first directory with a reduced picture (NewSubfileType 1), and a SubIFD with the values of the sensor."""
    sensor = {
        254: (0,),
        256: (64,),
        257: (48,),
        258: (16,),
        259: (1,),
        262: (32_803,),
        273: (8,),
        277: (1,),
        279: (6_144,),
    }
    entries = b"".join(struct.pack("<HHII", number, _LONG, 1, values[0]) for number, values in sensor.items())
    below = struct.pack("<H", len(sensor)) + entries + bytes(4)
    tags = _colour(8) | {254: (_LONG, (1,))}
    place = len(_tiff(rgb.tobytes(), tags | {330: (_LONG, (0,))}))
    return _tiff(rgb.tobytes(), tags | {330: (_LONG, (place,))}, after=below)


def _in_twelve_bits(levels: Any) -> bytes:
    bits = np.unpackbits(levels.astype(">u2").view(np.uint8).reshape(*levels.shape, 2), axis=2)[:, :, 4:]
    return np.packbits(bits.reshape(len(levels), -1), axis=1).tobytes()


def _bmps() -> Iterator[Case]:
    rgb = draw("bmp")
    bgr = np.ascontiguousarray(rgb[::-1, :, ::-1])
    plain = _bmp(bgr.tobytes(), bits=24)
    yield sound("rgb.bmp", plain, rgb)
    yield sound("top-down.bmp", _bmp(np.ascontiguousarray(rgb[:, :, ::-1]).tobytes(), bits=24, height=-48), rgb)
    yield sound("grey.bmp", _pillow(rgb[:, :, 0], "BMP"), rgb[:, :, 0])
    padded = np.dstack([bgr, np.zeros(bgr.shape[:2], np.uint8)])
    yield sound("32-bit.bmp", _bmp(padded.tobytes(), bits=32), rgb)
    yield sound("v4-alpha-of-zeros.bmp", _bmp(padded.tobytes(), bits=32, version=108), rgb)
    yield sound("v5-alpha-of-zeros.bmp", _bmp(padded.tobytes(), bits=32, version=124), rgb)
    opaque = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
    yield sound("v4-opaque.bmp", _bmp(opaque.tobytes(), bits=32, version=108), rgb)
    yield Case("64-bit.bmp", _bmp(padded.tobytes() * 2, bits=64), UNSUPPORTED | DAMAGED)
    yield Case("bomb.bmp", _bmp(b"", bits=24, height=100_000), TOO_LARGE)
    yield from cut("rgb.bmp", plain)


def _bmp(pixels: bytes, *, bits: int, height: int = 48, version: int = 40) -> bytes:
    """BITMAPINFOHEADER, or the V4 and V5 headers with masks of 8 bits for blue, green, red and alpha."""
    compression = 3 if version > 40 else 0
    info = struct.pack("<IiiHHIIiiII", version, 64, height, 1, bits, compression, len(pixels), 2835, 2835, 0, 0)
    if version > 40:
        masks = struct.pack("<IIII4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
        info = (info + masks).ljust(version, b"\0")
    offset = 14 + len(info)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + info + pixels


def _others() -> Iterator[Case]:
    rgb = draw("others")
    grey = rgb[:, :, 0]
    lossless = {
        "webp": _pillow(rgb, "WEBP", lossless=True),
        "ppm": b"P6\n# drawn\n64 48\n255\n" + rgb.tobytes(),
        "jp2": _pillow(rgb, "JPEG2000", irreversible=False),
    }
    for extension, data in lossless.items():
        yield sound(f"whole.{extension}", data, rgb)
        yield from cut(f"whole.{extension}", data, (0.1, 0.5, 0.9))
    yield sound("whole.gif", _pillow(grey, "GIF"), grey)
    yield from cut("whole.gif", _pillow(grey, "GIF"), (0.1, 0.5, 0.8))
    yield sound("whole.pgm", b"P5 64 48 255\n" + grey.tobytes(), grey)


def _pillow(pixels: Pixels, picture_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, picture_format, **{key: value for key, value in options.items() if value is not None}
    )
    return buffer.getvalue()
