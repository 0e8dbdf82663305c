"""Variants of TIFF laid out byte by byte: the planted pixels, or a refusal by name; never others."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode_faults import (
    CORRUPT,
    TOO_MANY_PIXELS,
    TRUNCATED,
    UNSUPPORTED_CODING,
    UNSUPPORTED_FORMAT,
    DecodeError,
)
from pipelines.formats.tiff import decode_tiff
from pipelines.settings import PixelSettings

SETTINGS = PixelSettings()
SHORT, LONG, RATIONAL, IFD = 3, 4, 5, 13
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4, 16: 8}
HEIGHT, WIDTH = 37, 45
RNG = np.random.default_rng(0)

Entries = Mapping[int, tuple[int, Sequence[int]]]


def levels(bits: int, num_samples: int = 1, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.int64]:
    return np.random.default_rng(bits).integers(0, 1 << bits, (height, width, num_samples))


def packed(samples: NDArray[Any], bits: int, order: str) -> bytes:
    """Rows of samples (H, W, S): 16 bits in the order of the file, others most significant bit first."""
    if bits in {8, 16, 32}:
        return samples.astype(f"{order}u{bits // 8}").tobytes()
    digits = (samples.reshape(len(samples), -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def pack_bits(data: bytes) -> bytes:
    """PackBits of literal runs only."""
    return b"".join(bytes([len(data[i : i + 128]) - 1]) + data[i : i + 128] for i in range(0, len(data), 128))


def lzw(data: bytes) -> bytes:
    """LZW of codes of 9 bits that are never of strings: a clear code before every 200 bytes."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    digits = (np.array([*codes, 257])[:, None] >> np.arange(8, -1, -1)) & 1
    return np.packbits(digits.astype(np.uint8)).tobytes()


CODERS: Mapping[int, Callable[[bytes], bytes]] = {
    1: bytes,
    5: lzw,
    8: zlib.compress,
    32_946: zlib.compress,
    32_773: pack_bits,
}


def assembled(directories: Sequence[tuple[Entries, Sequence[bytes]]], order: str = "<", big: bool = False) -> bytes:
    """A file of a chain of directories; the offsets and lengths of its pieces are the values of tags without any."""
    mark = {"<": b"II", ">": b"MM"}[order]
    offset_letter, count_letter, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    body = bytearray(
        mark + struct.pack(f"{order}HHH", 43, 8, 0) + bytes(8) if big else mark + struct.pack(f"{order}HI", 42, 0)
    )
    link = len(body) - room
    for entries, pieces in directories:
        offsets = []
        for piece in pieces:
            offsets.append(len(body))
            body += piece + b"\0" * (len(piece) % 2)
        placed: dict[int, tuple[int, Sequence[int]]] = dict(entries)
        for tag, values in ((273, offsets), (324, offsets), (279, None), (325, None)):
            if tag in placed and not placed[tag][1]:
                placed[tag] = (placed[tag][0], values if values is not None else [len(piece) for piece in pieces])
        table = b""
        for tag in sorted(placed):
            kind, items = placed[tag]
            letter = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 13: "I", 16: "Q"}[kind]
            content = struct.pack(f"{order}{len(items)}{letter}", *items)
            count = len(content) // SIZES[kind]
            if len(content) > room:
                body += b"\0" * (len(body) % 2)
                body, content = body + content, struct.pack(f"{order}{offset_letter}", len(body))
            table += struct.pack(f"{order}HH{offset_letter}", tag, kind, count) + content.ljust(room, b"\0")
        body += b"\0" * (len(body) % 2)
        body[link : link + room] = struct.pack(f"{order}{offset_letter}", len(body))
        body += struct.pack(f"{order}{count_letter}", len(placed)) + table
        link = len(body)
        body += bytes(room)
    return bytes(body)


def tiff(
    samples: NDArray[Any],
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    planar: bool = False,
    rows: int = HEIGHT,
    tile: tuple[int, int] | None = None,
    compression: int = 1,
    predictor: bool = False,
    reverse: bool = False,
    big: bool = False,
    extra: Entries | None = None,
) -> bytes:
    height, width, num_samples = samples.shape
    planes = [samples[:, :, i : i + 1] for i in range(num_samples)] if planar else [samples]
    blocks = []
    for plane in planes:
        if tile is None:
            blocks += [plane[top : top + rows] for top in range(0, height, rows)]
            continue
        tall, wide = tile
        whole = np.pad(plane, ((0, -height % tall), (0, -width % wide), (0, 0)))
        tops, lefts = range(0, height, tall), range(0, width, wide)
        blocks += [whole[top : top + tall, left : left + wide] for top, left in product(tops, lefts)]
    if predictor:
        blocks = [np.diff(block, axis=1, prepend=0) % (1 << bits) for block in blocks]
    pieces = [CODERS[compression](packed(block, bits, order)) for block in blocks]
    if reverse:
        pieces = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in piece) for piece in pieces]
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (SHORT, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * num_samples),
        259: (SHORT, [compression]),
        262: (SHORT, [photometric]),
        277: (SHORT, [num_samples]),
    }
    if planar:
        entries[284] = (SHORT, [2])
    if predictor:
        entries[317] = (SHORT, [2])
    if reverse:
        entries[266] = (SHORT, [2])
    if tile is None:
        entries |= {273: (LONG, []), 278: (SHORT, [rows]), 279: (LONG, [])}
    else:
        entries |= {322: (SHORT, [tile[1]]), 323: (SHORT, [tile[0]]), 324: (LONG, []), 325: (LONG, [])}
    return assembled([({**entries, **(extra or {})}, pieces)], order, big)


def rgb_of(data: bytes) -> NDArray[np.uint8]:
    return decode_tiff(data, SETTINGS)[0]


def fault_of(data: bytes, settings: PixelSettings = SETTINGS) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_tiff(data, settings)
    return caught.value.fault


def eight(samples: NDArray[Any], bits: int) -> NDArray[np.float64]:
    return samples * 255 / ((1 << bits) - 1)


def assert_pixels(rgb: NDArray[np.uint8], expected: NDArray[Any]) -> None:
    assert rgb.dtype == np.uint8
    assert rgb.shape == (*expected.shape[:2], 3)
    assert np.abs(rgb - expected.astype(np.float64)).max() <= 0.51


DEPTHS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16)
PLACES: Mapping[str, Mapping[str, Any]] = {
    "one strip": {},
    "strips": {"rows": 5},
    "strips of a row": {"rows": 1},
    "tiles": {"tile": (16, 32)},
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bits", DEPTHS)
def test_grey_of_any_depth_gives_the_planted_levels(bits: int, place: str, order: str) -> None:
    samples = levels(bits)
    expected = eight(samples, bits)
    assert_pixels(rgb_of(tiff(samples, bits, 1, order=order, **PLACES[place])), expected)
    assert_pixels(rgb_of(tiff(samples, bits, 0, order=order, **PLACES[place])), 255 - np.round(expected))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bits", DEPTHS)
def test_colours_of_any_depth_give_the_planted_levels(bits: int, place: str, order: str, planar: bool) -> None:
    samples = levels(bits, 3)
    data = tiff(samples, bits, 2, order=order, planar=planar, **PLACES[place])
    assert_pixels(rgb_of(data), eight(samples, bits))


@pytest.mark.parametrize("compression", sorted(CODERS))
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_every_compression_gives_the_planted_levels(compression: int, planar: bool, bits: int) -> None:
    samples = levels(bits, 3)
    for order, place in product("<>", PLACES.values()):
        data = tiff(samples, bits, 2, order=order, planar=planar, compression=compression, **place)
        assert_pixels(rgb_of(data), eight(samples, bits))


@pytest.mark.parametrize("compression", [5, 8])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("num_samples", [1, 3])
def test_a_predictor_is_undone(compression: int, bits: int, num_samples: int) -> None:
    samples = levels(bits, num_samples)
    photometric = 1 if num_samples == 1 else 2
    for order, planar, place in product("<>", [False, True], PLACES.values()):
        options = {"order": order, "planar": planar and num_samples > 1, **place}
        data = tiff(samples, bits, photometric, compression=compression, predictor=True, **options)
        assert_pixels(rgb_of(data), eight(samples, bits))


@pytest.mark.parametrize("compression", sorted(CODERS))
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_bits_in_reverse_are_turned(compression: int, bits: int) -> None:
    samples = levels(bits)
    assert_pixels(rgb_of(tiff(samples, bits, 1, reverse=True, compression=compression)), eight(samples, bits))


@pytest.mark.parametrize("scale", [257, 256, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_is_applied_in_sixteen_bits_or_eight(bits: int, scale: int) -> None:
    palette = RNG.integers(0, 256, (1 << bits, 3))
    palette[0] = 255  # so that a map of 16 bits is none of 8
    samples = levels(bits)
    data = tiff(samples, bits, 3, rows=4, extra={320: (SHORT, (palette.T * scale).ravel().tolist())})
    assert_pixels(rgb_of(data), palette[samples[:, :, 0]])


def test_a_palette_that_is_too_short_is_damage() -> None:
    assert fault_of(tiff(levels(4), 4, 3, extra={320: (SHORT, [0] * 47)})) == CORRUPT


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("photometric", [1, 2])
def test_opacity_is_laid_on_white(photometric: int, kind: int, bits: int) -> None:
    num_colours = 3 if photometric == 2 else 1
    samples = levels(bits, num_colours + 1)
    share = samples[:, :, -1:] / ((1 << bits) - 1)
    colours = samples[:, :, :-1]
    if kind == 1:
        colours = np.floor(colours * share).astype(np.int64)
    data = tiff(np.dstack([colours, samples[:, :, -1]]), bits, photometric, extra={338: (SHORT, [kind])})
    expected = eight(colours, bits) * (1 if kind == 1 else share) + 255 * (1 - share)
    assert np.abs(rgb_of(data) - expected).max() <= 2


@pytest.mark.parametrize("num_extra", [1, 2, 5])
def test_extra_samples_that_mean_nothing_are_left_out(num_extra: int) -> None:
    samples = levels(8, 3 + num_extra)
    for planar in (False, True):
        data = tiff(samples, 8, 2, planar=planar, extra={338: (SHORT, [0] * num_extra)})
        assert_pixels(rgb_of(data), samples[:, :, :3])


def test_an_opacity_after_another_extra_sample_is_found() -> None:
    samples = levels(8, 5)
    share = samples[:, :, 4:] / 255
    data = tiff(samples, 8, 2, extra={338: (SHORT, [0, 2])})
    assert np.abs(rgb_of(data) - (samples[:, :, :3] * share + 255 * (1 - share))).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_cmyk_is_what_pillow_makes_of_it(bits: int, planar: bool) -> None:
    samples = levels(bits, 4)
    cmyk = np.round(eight(samples, bits)).astype(np.uint8)
    expected = np.asarray(Image.frombytes("CMYK", (WIDTH, HEIGHT), cmyk.tobytes()).convert("RGB"))
    assert_pixels(rgb_of(tiff(samples, bits, 5, planar=planar)), expected)


def test_lab_is_nearly_what_opencv_makes_of_it() -> None:
    lightness = np.linspace(20, 90, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    a, b = 20 * np.sin(lightness / 9), 20 * np.cos(lightness / 7)
    stored = np.stack([np.round(lightness * 2.55), np.round(a) % 256, np.round(b) % 256], axis=2).astype(np.int64)
    lab = np.dstack([stored[:, :, 0] / 2.55, np.round(a), np.round(b)]).astype(np.float32)
    expected = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB) * 255
    assert np.abs(rgb_of(tiff(stored, 8, 8)) - expected).mean() < 6  # the white points differ


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (1, 2), (4, 2), (4, 4)])
def test_ycbcr_gives_the_colours_of_its_blocks(subsampling: tuple[int, int], compression: int) -> None:
    across, down = subsampling
    rows, columns = -(-HEIGHT // down), -(-WIDTH // across)
    y = RNG.integers(0, 256, (rows * down, columns * across))
    chroma = RNG.integers(64, 192, (rows, columns, 2))
    blocks = y.reshape(rows, down, columns, across).swapaxes(1, 2).reshape(rows, columns, -1)
    rows_per_strip = 8
    stored = np.concatenate([blocks, chroma], axis=2).astype(np.uint8)
    pieces = [CODERS[compression](stored[top : top + 8 // down].tobytes()) for top in range(0, rows, 8 // down)]
    entries: Entries = {
        256: (SHORT, [WIDTH]),
        257: (SHORT, [HEIGHT]),
        258: (SHORT, [8, 8, 8]),
        259: (SHORT, [compression]),
        262: (SHORT, [6]),
        273: (LONG, []),
        277: (SHORT, [3]),
        278: (SHORT, [rows_per_strip]),
        279: (LONG, []),
        530: (SHORT, [across, down]),
    }
    full = np.dstack([y, chroma.repeat(down, axis=0).repeat(across, axis=1)])[:HEIGHT, :WIDTH].astype(np.uint8)
    expected = np.asarray(Image.fromarray(full, "YCbCr").convert("RGB"))
    assert np.abs(rgb_of(assembled([(entries, pieces)])).astype(int) - expected).max() <= 2


def test_the_references_of_ycbcr_are_applied() -> None:
    samples = np.broadcast_to(np.array([16, 128, 128]), (4, 4, 3)).copy()
    samples[0] = [235, 128, 128]
    references = [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]
    rgb = rgb_of(tiff(samples, 8, 6, extra={530: (SHORT, [1, 1]), 532: (RATIONAL, references)}))
    assert rgb[0, 0].tolist() == [255] * 3
    assert rgb[1, 0].tolist() == [0] * 3


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_is_read(compression: str) -> None:
    bilevel = Image.fromarray(((levels(1)[:, :, 0].repeat(3, axis=0)) * 255).astype(np.uint8)).convert("1")
    stream = io.BytesIO()
    bilevel.save(stream, "TIFF", compression=compression)
    assert_pixels(rgb_of(stream.getvalue()), np.asarray(bilevel.convert("RGB")))


@pytest.mark.parametrize("compression", ["lzma", "zstd", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "I;16"])
def test_what_libtiff_compresses_is_read(mode: str, compression: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(levels(16)[:, :, 0].astype(np.uint16))
        expected = np.round(np.asarray(picture) / 257)[:, :, None].repeat(3, axis=2)
    else:
        picture = Image.fromarray(levels(8, 3).astype(np.uint8)).convert(mode)
        expected = np.asarray(picture.convert("RGB"))
    stream = io.BytesIO()
    picture.save(stream, "TIFF", compression=compression)
    assert_pixels(rgb_of(stream.getvalue()), expected)


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_a_big_tiff_is_read(compression: int) -> None:
    samples = levels(16, 3)
    for order in "<>":
        data = tiff(samples, 16, 2, order=order, big=True, compression=compression, rows=7)
        assert_pixels(rgb_of(data), eight(samples, 16))


def smooth(num_samples: int) -> NDArray[np.uint8]:
    ramp = np.add.outer(np.arange(48) * 2, np.arange(64) * 2)
    return np.dstack([ramp, 255 - ramp, ramp // 2][:num_samples]).astype(np.uint8)


def jpeg_tiff(photometric: int, *, tile: bool, tables: bool) -> bytes:
    """JPEG inside TIFF: strips or tiles of 16 rows, with shared tables or without."""
    num_samples = 1 if photometric < 2 else 3
    picture = smooth(num_samples)
    pieces, shared = [], b""
    for top, left in product(range(0, 48, 16), range(0, 64, 32) if tile else [0]):
        block = picture[top : top + 16, left : left + (32 if tile else 64)]
        stream = io.BytesIO()
        image = Image.fromarray(block[:, :, 0] if num_samples == 1 else block)
        image.save(stream, "JPEG", quality=95, subsampling=0, keep_rgb=photometric == 2)
        data = stream.getvalue()
        first, frame = data.index(b"\xff\xdb"), data.index(b"\xff\xc0")
        start, end = data.index(b"\xff\xc4"), data.index(b"\xff\xda")
        quantisation, huffman = data[first:frame], data[start:end]
        if tables:
            shared = b"\xff\xd8" + quantisation + huffman + b"\xff\xd9"
            pieces.append(b"\xff\xd8" + data[frame:start] + data[end:])
        else:
            pieces.append(b"\xff\xd8" + data[first:])
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (SHORT, [64]),
        257: (SHORT, [48]),
        258: (SHORT, [8] * num_samples),
        259: (SHORT, [7]),
        262: (SHORT, [photometric]),
        277: (SHORT, [num_samples]),
    }
    if tables:
        entries[347] = (7, list(shared))
    if tile:
        entries |= {322: (SHORT, [32]), 323: (SHORT, [16]), 324: (LONG, []), 325: (LONG, [])}
    else:
        entries |= {273: (LONG, []), 278: (SHORT, [16]), 279: (LONG, [])}
    return assembled([(entries, pieces)])


@pytest.mark.parametrize("tables", [False, True])
@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("photometric", [0, 1, 2, 6])
def test_jpeg_inside_is_read(photometric: int, tile: bool, tables: bool) -> None:
    expected = smooth(1 if photometric < 2 else 3).astype(int)
    rgb = rgb_of(jpeg_tiff(photometric, tile=tile, tables=tables))
    assert np.abs(rgb - (255 - expected if photometric == 0 else expected)).max() <= 6


@pytest.mark.parametrize("rows", [16, 48])
def test_the_inks_of_a_jpeg_inside_are_not_inverted(rows: int) -> None:
    inks = np.dstack([smooth(3), np.full((48, 64), 20, np.uint8)])
    pieces = []
    for top in range(0, 48, rows):
        stored = 255 - inks[top : top + rows]  # Pillow inverts them, as Adobe does in files of JPEG
        stream = io.BytesIO()
        Image.frombytes("CMYK", (64, rows), stored.tobytes()).save(stream, "JPEG", quality=98, subsampling=0)
        data = stream.getvalue()
        pieces.append(b"\xff\xd8" + data[data.index(b"\xff\xdb") :])
    entries = page(5, {256: (SHORT, [64]), 257: (SHORT, [48]), 258: (SHORT, [8] * 4), 259: (SHORT, [7])})[0]
    data = assembled([({**entries, 277: (SHORT, [4]), 278: (SHORT, [rows])}, pieces)])
    expected = np.asarray(Image.frombytes("CMYK", (64, 48), inks.tobytes()).convert("RGB")).astype(int)
    assert np.abs(rgb_of(data) - expected).max() <= 8


@pytest.mark.parametrize("is_tagged", [False, True])
def test_a_whole_jpeg_of_the_old_style_is_read(is_tagged: bool) -> None:
    stream = io.BytesIO()
    Image.fromarray(smooth(3)).save(stream, "JPEG", quality=95, subsampling=0)
    data = stream.getvalue()
    entries = page(6, {256: (SHORT, [64]), 257: (SHORT, [48]), 259: (SHORT, [6])})[0]
    extra: Entries = {513: (LONG, [8]), 514: (LONG, [len(data)])} if is_tagged else {}
    assert np.abs(rgb_of(assembled([({**entries, **extra}, [data])])).astype(int) - smooth(3)).max() <= 6
    damaged = data[:-60] + bytes(40) + data[-20:]
    assert fault_of(assembled([({**entries, **extra}, [damaged])])) in {CORRUPT, TRUNCATED}


def test_damage_in_a_jpeg_inside_is_found() -> None:
    data = jpeg_tiff(6, tile=False, tables=False)
    end = data.index(b"\xff\xd9")
    assert fault_of(data[: end - 20] + bytes(20) + data[end:]) in {CORRUPT, TRUNCATED}
    assert fault_of(data[: end - 20] + b"\xff\xd9" + data[end - 18 :]) in {CORRUPT, TRUNCATED}


REFUSED: Mapping[str, bytes] = {
    "float": tiff(levels(32), 32, 1, extra={339: (SHORT, [3])}),
    "half float": tiff(levels(16), 16, 1, extra={339: (SHORT, [3])}),
    "signed": tiff(levels(16), 16, 1, extra={339: (SHORT, [2])}),
    "signed bytes": tiff(levels(8), 8, 1, extra={339: (SHORT, [2])}),
    "complex": tiff(levels(32), 32, 1, extra={339: (SHORT, [6])}),
    "32 bits": tiff(levels(32), 32, 1),
    "bits that differ": tiff(levels(8, 3), 8, 2, extra={258: (SHORT, [5, 6, 5])}),
    "LogLuv": tiff(levels(8, 3), 8, 32_845),
    "ICC Lab": tiff(levels(8, 3), 8, 9),
    "Lab of 16 bits": tiff(levels(16, 3), 16, 8),
    "a mask": tiff(levels(1), 1, 4),
    "old JPEG": tiff(levels(8, 3), 8, 6, extra={259: (SHORT, [6])}),
    "ThunderScan": tiff(levels(4), 4, 1, extra={259: (SHORT, [32_809])}),
    "SGI log": tiff(levels(8), 8, 1, extra={259: (SHORT, [34_676])}),
    "JPEG XL inside": tiff(levels(8), 8, 1, extra={259: (SHORT, [50_002])}),
    "WebP inside": tiff(levels(8), 8, 1, extra={259: (SHORT, [50_001])}),
    "a float predictor": tiff(levels(16), 16, 1, compression=8, extra={317: (SHORT, [3])}),
    "a predictor of 4 bits": tiff(levels(4), 4, 1, compression=8, extra={317: (SHORT, [2])}),
    "a planar configuration of 3": tiff(levels(8, 3), 8, 2, extra={284: (SHORT, [3])}),
    "other inks": tiff(levels(8, 4), 8, 5, extra={332: (SHORT, [2])}),
    "half of the inks' range": tiff(levels(8, 4), 8, 5, extra={336: (SHORT, [0, 127])}),
    "an opacity of CMYK": tiff(levels(8, 5), 8, 5, extra={338: (SHORT, [2])}),
    "40 samples": tiff(levels(8, 40), 8, 2),
    "sub-sampled planes": tiff(levels(8, 3), 8, 6, planar=True, extra={530: (SHORT, [2, 2])}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_variant_that_is_not_read_is_refused_by_name(name: str) -> None:
    assert fault_of(REFUSED[name]) == UNSUPPORTED_CODING


def page(photometric: int = 2, extra: Entries | None = None, value: int = 90) -> tuple[Entries, Sequence[bytes]]:
    entries: Entries = {
        256: (SHORT, [4]),
        257: (SHORT, [4]),
        258: (SHORT, [8, 8, 8]),
        262: (SHORT, [photometric]),
        273: (LONG, []),
        277: (SHORT, [3]),
        279: (LONG, []),
    }
    return {**entries, **(extra or {})}, [bytes([value]) * 48]


RAW: Mapping[str, Sequence[tuple[Entries, Sequence[bytes]]]] = {
    "a thumbnail over directories below": [page(extra={254: (LONG, [1]), 330: (LONG, [8])})],
    "DNG": [page(extra={50_706: (1, [1, 4, 0, 0])})],
    "a colour filter array": [page(32_803)],
    "linear raw": [page(34_892)],
    "raw in the second page": [page(), page(32_803)],
    "a maker's compression": [page(extra={259: (SHORT, [34_713])})],
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", RAW)
def test_a_raw_camera_file_is_refused_as_a_format(name: str, order: str) -> None:
    data = bytearray(assembled(RAW[name], order))
    if name == "a thumbnail over directories below":  # the directory below is the first itself: there is one
        first = data[4:8]
        place = bytes(data).index(struct.pack(f"{order}HHI", 330, LONG, 1)) + 8
        data[place : place + 4] = first
    assert fault_of(bytes(data)) == UNSUPPORTED_FORMAT


def test_the_signature_of_canon_is_enough() -> None:
    data = assembled([page()])
    assert fault_of(data[:8] + b"CR\x02\0" + data[12:]) == UNSUPPORTED_FORMAT


def test_a_pyramid_is_no_raw_camera_file() -> None:
    rgb = rgb_of(assembled([page(extra={330: (LONG, [8])}), page(extra={254: (LONG, [1])}, value=7)]))
    assert (rgb == 90).all()


@pytest.mark.parametrize("mark", [{254: (LONG, [1])}, {255: (SHORT, [2])}, {254: (LONG, [4])}])
def test_a_thumbnail_before_the_picture_is_passed_by(mark: Entries) -> None:
    assert (rgb_of(assembled([page(extra=mark, value=7), page(value=90), page(value=8)])) == 90).all()


def test_a_lone_picture_marked_as_a_thumbnail_is_read() -> None:
    assert (rgb_of(assembled([page(extra={254: (LONG, [1])})])) == 90).all()


def test_a_loop_of_directories_ends() -> None:
    data = bytearray(assembled([page(), page()]))
    data[-4:] = data[4:8]
    assert (rgb_of(bytes(data)) == 90).all()


@pytest.mark.parametrize(("kind", "order"), list(product([1, 3, 4], "<>")))
def test_the_orientation_is_read_in_every_integer_type(kind: int, order: str) -> None:
    for orientation in range(1, 9):
        header = decode_tiff(tiff(levels(8), 8, 1, order=order, extra={274: (kind, [orientation])}), SETTINGS)[1]
        assert header.orientation == orientation
    assert decode_tiff(tiff(levels(8), 8, 1, extra={274: (kind, [9])}), SETTINGS)[1].orientation == 1


@pytest.mark.parametrize(
    ("samples", "bits", "mode"), [(1, 1, "1"), (1, 8, "L"), (1, 12, "I;16"), (3, 16, "RGB"), (4, 8, "RGBA")]
)
def test_the_mode_is_named_as_by_pillow(samples: int, bits: int, mode: str) -> None:
    assert decode_tiff(tiff(levels(bits, samples), bits, 1 if samples == 1 else 2), SETTINGS)[1].mode == mode


def test_a_bomb_is_refused_by_its_declared_size() -> None:
    for extra in ({256: (LONG, [60_000]), 257: (LONG, [60_000])}, {322: (LONG, [60_000]), 323: (LONG, [60_000])}):
        assert fault_of(tiff(levels(8), 8, 1, tile=(16, 16), extra=extra)) == TOO_MANY_PIXELS
    assert fault_of(tiff(levels(32), 32, 1, extra={256: (LONG, [60_000]), 257: (LONG, [60_000])})) == TOO_MANY_PIXELS


@pytest.mark.parametrize("compression", [1, 5, 8, 32_773])
def test_a_file_cut_anywhere_is_refused(compression: int) -> None:
    samples = levels(8, 3, 9, 11)
    whole = assembled([page()])
    for data in (tiff(samples, 8, 2, rows=4, compression=compression), tiff(samples, 8, 2, tile=(16, 16)), whole):
        for length in range(4, len(data) - 4):
            assert fault_of(data[:length]) in {TRUNCATED, CORRUPT}


@pytest.mark.parametrize("compression", sorted(CODERS))
def test_pixels_at_the_end_of_the_file_that_are_cut_are_refused(compression: int) -> None:
    samples = levels(8, 3, 9, 11)
    piece = CODERS[compression](packed(samples, 8, "<"))
    start = 8 + 2 + 12 * 9 + 4 + 6
    table = [(256, 11), (257, 9), (258, start - 6), (259, compression), (262, 2), (273, start), (277, 3), (278, 9)]
    table.append((279, len(piece)))
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag != 258 else 3, 3 if tag == 258 else 1, v) for tag, v in table)
    head = b"II*\0" + struct.pack("<IH", 8, len(table)) + entries + bytes(4) + struct.pack("<3H", 8, 8, 8)
    assert len(head) == start
    assert_pixels(rgb_of(head + piece), samples)
    for num_bytes in range(1, len(piece), 3):
        assert fault_of((head + piece)[:-num_bytes]) in {TRUNCATED, CORRUPT}


def test_a_changed_byte_in_deflated_pixels_is_found() -> None:
    samples = (levels(3, 3, 20, 30) * 16).astype(np.int64)
    data = tiff(samples, 8, 2, compression=8, rows=7)
    first = data.index(b"\x78\x9c")
    for position in range(first, first + 200):
        changed = data[:position] + bytes([data[position] ^ 0x11]) + data[position + 1 :]
        assert fault_of(changed) in {CORRUPT, TRUNCATED}


def test_changed_bytes_anywhere_give_pixels_or_a_named_fault() -> None:
    rng = np.random.default_rng(5)
    sources = [tiff(levels(12, 3, 9, 11), 12, 2, rows=4), tiff(levels(8, 3), 8, 2, tile=(16, 16), compression=8)]
    for data in [*sources, tiff(levels(4), 4, 3, compression=5, extra={320: (SHORT, [500] * 48)})]:
        for _ in range(300):
            changed = bytearray(data)
            for place in rng.integers(4, len(data), 3):
                changed[place] = rng.integers(0, 256)
            with contextlib.suppress(DecodeError):
                decode_tiff(bytes(changed), PixelSettings(max_pixels=1_000_000))
