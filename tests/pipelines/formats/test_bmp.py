"""Variants of BMP laid out byte by byte: the planted pixels, or a refusal by name; never others."""

import contextlib
import io
import struct
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TRUNCATED, UNSUPPORTED_CODING, DecodeError
from pipelines.formats.bmp import decode_bmp
from pipelines.settings import PixelSettings

SETTINGS = PixelSettings()
HEIGHT, WIDTH = 11, 13
RNG = np.random.default_rng(0)
CORE, INFO, V2, V3, OS2, V4, V5 = 12, 40, 52, 56, 64, 108, 124
MASKS_888 = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmp(
    pixels: bytes,
    bits: int,
    *,
    size: int = INFO,
    palette: NDArray[Any] | None = None,
    compression: int = 0,
    masks: Sequence[int] = (),
    is_top_down: bool = False,
    num_colours: int = 0,
    gap: int = 0,
    shape: tuple[int, int] = (HEIGHT, WIDTH),
) -> bytes:
    height, width = shape
    if size == CORE:
        header = struct.pack("<I4H", size, width, height, 1, bits)
    else:
        signed = -height if is_top_down else height
        header = struct.pack(
            "<IiiHHIIiiII", size, width, signed, 1, bits, compression, len(pixels), 0, 0, num_colours, 0
        )
    outside = b""
    if masks:
        stored = struct.pack(f"<{len(masks)}I", *masks)
        header, outside = (header, stored) if size == INFO else (header + stored, b"")
    header = header[:size].ljust(size, b"\0")
    colours = b""
    if palette is not None:
        ends = b"" if size == CORE else b"\0"
        colours = b"".join(bytes(entry[::-1].astype(np.uint8)) + ends for entry in palette)
    start = 14 + len(header) + len(outside) + len(colours) + gap
    head = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return head + header + outside + colours + bytes(gap) + pixels


def padded(rows: Sequence[bytes]) -> bytes:
    """Rows filled to four bytes, the last of the picture first."""
    return b"".join(row + bytes(-len(row) % 4) for row in rows[::-1])


def packed(indices: NDArray[Any], bits: int) -> bytes:
    digits = (indices[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return padded([row.tobytes() for row in np.packbits(digits.reshape(len(indices), -1).astype(np.uint8), axis=1)])


def rgb_of(data: bytes) -> NDArray[np.uint8]:
    return decode_bmp(data, SETTINGS)[0]


def fault_of(data: bytes, settings: PixelSettings = SETTINGS) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_bmp(data, settings)
    return caught.value.fault


@pytest.mark.parametrize("size", [CORE, 16, INFO, V2, V3, OS2, V4, V5])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_is_applied_under_every_header(bits: int, size: int) -> None:
    palette = RNG.integers(0, 256, (1 << bits, 3))
    indices = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH))
    assert np.array_equal(rgb_of(bmp(packed(indices, bits), bits, size=size, palette=palette)), palette[indices])


def test_a_short_palette_a_gap_and_rows_from_the_top_are_read() -> None:
    palette = RNG.integers(0, 256, (5, 3))
    indices = RNG.integers(0, 5, (HEIGHT, WIDTH))
    stored = packed(indices[::-1], 8)
    data = bmp(stored, 8, palette=palette, num_colours=5, is_top_down=True, gap=100)
    assert np.array_equal(rgb_of(data), palette[indices])


def test_an_index_beyond_the_palette_is_damage() -> None:
    palette = RNG.integers(0, 256, (5, 3))
    indices = np.full((HEIGHT, WIDTH), 5)
    assert fault_of(bmp(packed(indices, 8), 8, palette=palette, num_colours=5)) == CORRUPT


@pytest.mark.parametrize("stored", [0, 14 + INFO])
def test_pixels_without_a_place_follow_the_palette(stored: int) -> None:
    palette = RNG.integers(0, 256, (256, 3))
    indices = RNG.integers(0, 256, (HEIGHT, WIDTH))
    data = bmp(packed(indices, 8), 8, palette=palette)
    assert np.array_equal(rgb_of(data[:10] + struct.pack("<I", stored) + data[14:]), palette[indices])


def test_a_header_of_too_many_colours_reads_those_that_are_there() -> None:
    palette = RNG.integers(0, 256, (256, 3))
    indices = RNG.integers(0, 256, (HEIGHT, WIDTH))
    data = bmp(packed(indices, 8), 8, palette=palette, num_colours=2**31)
    assert np.array_equal(rgb_of(data), palette[indices])


@pytest.mark.parametrize("size", [CORE, INFO, V4, V5])
@pytest.mark.parametrize("is_top_down", [False, True])
def test_plain_colours_are_read(size: int, is_top_down: bool) -> None:
    rgb = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    stored = rgb[::-1] if is_top_down and size != CORE else rgb
    bgr = [row[:, ::-1].tobytes() for row in stored]
    assert np.array_equal(rgb_of(bmp(padded(bgr), 24, size=size, is_top_down=is_top_down)), rgb)
    with_fill = [np.dstack([row[None, :, ::-1], np.full((1, WIDTH, 1), 7, np.uint8)]).tobytes() for row in stored]
    assert np.array_equal(rgb_of(bmp(padded(with_fill), 32, size=size, is_top_down=is_top_down)), rgb)


FIELDS = {
    "555": (16, (0x7C00, 0x3E0, 0x1F)),
    "565": (16, (0xF800, 0x7E0, 0x1F)),
    "4444": (16, (0xF00, 0xF0, 0xF)),
    "231": (16, (0x60, 0x1C, 0x2)),
    "888": (32, (0xFF0000, 0xFF00, 0xFF)),
    "reversed": (32, (0xFF, 0xFF00, 0xFF0000)),
    "at the top": (32, (0xFF000000, 0xFF0000, 0xFF00)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    "wide and narrow": (32, (0xFFFF0000, 0xFF80, 0x7F)),
    "no blue": (16, (0xF800, 0x7E0, 0)),
}


@pytest.mark.parametrize("size", [INFO, V2, V3, V4, V5])
@pytest.mark.parametrize("name", FIELDS)
def test_bit_fields_give_their_levels(name: str, size: int) -> None:
    bits, masks = FIELDS[name]
    pixels = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH))
    expected = np.zeros((HEIGHT, WIDTH, 3))
    for channel, mask in enumerate(masks):
        if mask:
            step = mask & -mask
            expected[:, :, channel] = (pixels & mask) // step * 255 / (mask // step)
    rows = [row.astype(f"<u{bits // 8}").tobytes() for row in pixels]
    stored = (*masks, 0) if size >= V3 else masks
    rgb = rgb_of(bmp(padded(rows), bits, size=size, compression=3, masks=stored))
    assert np.array_equal(rgb, np.floor(expected))


def test_sixteen_bits_without_fields_are_five_a_channel() -> None:
    pixels = RNG.integers(0, 1 << 16, (HEIGHT, WIDTH)).astype("<u2")
    expected = np.stack([(pixels >> shift & 31) * 255 // 31 for shift in (10, 5, 0)], axis=2)
    assert np.array_equal(rgb_of(bmp(padded([row.tobytes() for row in pixels]), 16)), expected)


@pytest.mark.parametrize(("size", "compression"), [(V3, 3), (V4, 3), (V5, 3), (INFO, 6)])
def test_opacity_is_laid_on_white_unless_it_is_all_zero(size: int, compression: int) -> None:
    rgba = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    for is_used in (True, False):
        rgba[:, :, 3] *= is_used
        rows = [row[:, [2, 1, 0, 3]].tobytes() for row in rgba]
        rgb, header = decode_bmp(bmp(padded(rows), 32, size=size, compression=compression, masks=MASKS_888), SETTINGS)
        share = rgba[:, :, 3:] / 255 if is_used else 1
        assert np.abs(rgb - (rgba[:, :, :3] * share + 255 * (1 - share))).max() <= 0.51
        assert header.mode == "RGBA"


@pytest.mark.parametrize("masks", [(0xFF0000, 0xFF0000, 0xFF), (0x7C00, 0x3E0, 0x1FF)])
def test_fields_that_overlap_are_damage(masks: Sequence[int]) -> None:
    assert fault_of(bmp(bytes(4 * WIDTH * HEIGHT), 32, compression=3, masks=masks)) == CORRUPT


def test_a_field_with_gaps_is_refused() -> None:
    data = bmp(bytes(4 * WIDTH * HEIGHT), 32, compression=3, masks=(0xF0F000, 0xF00, 0xFF))
    assert fault_of(data) == UNSUPPORTED_CODING


def runs(indices: NDArray[Any], bits: int, *, absolute: bool) -> bytes:
    """Run-length coding of rows, the last first: runs of one pixel's colour, or runs of literal ones."""
    out = b""
    for row in indices[::-1]:
        if absolute:
            literal = (
                bytes(row) if bits == 8 else bytes(a << 4 | b for a, b in zip(row[::2], [*row[1::2], 0], strict=False))
            )
            out += bytes([0, len(row)]) + literal + bytes(len(literal) % 2)
        else:
            out += b"".join(bytes([1, value if bits == 8 else value << 4]) for value in row)
        out += b"\0\0"
    return out + b"\0\1"


@pytest.mark.parametrize(("bits", "absolute", "gap"), list(product([4, 8], [False, True], [0, 1])))
def test_runs_give_the_planted_indices(bits: int, absolute: bool, gap: int) -> None:
    palette = RNG.integers(0, 256, (1 << bits, 3))
    indices = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH)).astype(np.uint8)
    data = bmp(
        runs(indices, bits, absolute=absolute), bits, palette=palette, compression=9 - bits if bits == 8 else 2, gap=gap
    )
    assert np.array_equal(rgb_of(data), palette[indices])


def test_two_colours_alternate_in_a_run_of_four_bits() -> None:
    palette = RNG.integers(0, 256, (16, 3))
    data = bmp(bytes([WIDTH, 0x3A, 0, 0]) * HEIGHT + b"\0\1", 4, palette=palette, compression=2)
    assert np.array_equal(rgb_of(data), palette[np.resize([3, 10], WIDTH)][None].repeat(HEIGHT, axis=0))


def test_a_move_skips_pixels_of_the_first_colour() -> None:
    palette = RNG.integers(0, 256, (256, 3))
    data = bmp(bytes([2, 9, 0, 2, 3, 1, 2, 8, 0, 0, 4, 7, 0, 1]), 8, palette=palette, compression=1, shape=(3, 7))
    expected = np.array([[7, 7, 7, 7, 0, 0, 0], [0, 0, 0, 0, 0, 8, 8], [9, 9, 0, 0, 0, 0, 0]])
    assert np.array_equal(rgb_of(data), palette[expected])


def test_runs_that_end_before_the_last_row_are_refused() -> None:
    palette = RNG.integers(0, 256, (256, 3))
    indices = RNG.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    whole = runs(indices, 8, absolute=False)
    for cut in (whole[: len(whole) // 2], whole[: 2 * (WIDTH + 1) * 5] + b"\0\1"):
        assert fault_of(bmp(cut, 8, palette=palette, compression=1)) == TRUNCATED


REFUSED: Mapping[str, bytes] = {
    "JPEG inside": bmp(b"\xff\xd8", 0, compression=4),
    "PNG inside": bmp(b"\x89PNG", 0, compression=5),
    "Huffman of OS/2": bmp(bytes(99), 1, size=OS2, compression=3),
    "runs of 24 bits": bmp(bytes(99), 24, size=OS2, compression=4),
    "64 bits": bmp(bytes(8 * WIDTH * HEIGHT), 64),
    "3 bits": bmp(bytes(999), 3),
    "CMYK": bmp(bytes(999), 32, size=V4, compression=11),
    "a later header": bmp(bytes(999), 24, size=200),
    "a header between two": bmp(bytes(999), 24, size=66),
    "runs from the top": bmp(bytes(999), 8, compression=1, is_top_down=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_variant_that_is_not_read_is_refused_by_name(name: str) -> None:
    assert fault_of(REFUSED[name]) == UNSUPPORTED_CODING


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_pixels_and_mode_are_those_of_pillow(mode: str) -> None:
    picture = Image.fromarray(RNG.integers(0, 256, (33, 21, 3), dtype=np.uint8)).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    with Image.open(stream) as peer:
        rgb, header = decode_bmp(stream.getvalue(), SETTINGS)
        assert header.mode == peer.mode
        assert np.array_equal(rgb, np.asarray(peer.convert("RGB")))


def test_a_bomb_is_refused_by_its_declared_size() -> None:
    assert fault_of(bmp(bytes(9), 24, shape=(60_000, 60_000))) == TOO_MANY_PIXELS
    assert fault_of(bmp(bytes(9), 64, shape=(60_000, 60_000))) == TOO_MANY_PIXELS


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5, -5)])
def test_a_picture_without_pixels_is_damage(shape: tuple[int, int]) -> None:
    assert fault_of(bmp(bytes(99), 24, shape=shape)) == CORRUPT


@pytest.mark.parametrize("bits", [1, 4, 8, 16, 24, 32])
def test_a_file_cut_anywhere_is_refused_unless_it_is_only_padding(bits: int) -> None:
    palette = RNG.integers(0, 256, (1 << bits, 3)) if bits <= 8 else None
    row_bytes = (WIDTH * bits + 7) // 8
    data = bmp(padded([bytes(row_bytes)] * HEIGHT), bits, palette=palette)
    padding = -row_bytes % 4
    for length in range(2, len(data) - padding):
        assert fault_of(data[:length]) in {TRUNCATED, CORRUPT}
    assert rgb_of(data[: len(data) - padding]).shape == (HEIGHT, WIDTH, 3)


def test_changed_bytes_anywhere_give_pixels_or_a_named_fault() -> None:
    palette = RNG.integers(0, 256, (256, 3))
    indices = RNG.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    sources = [
        bmp(runs(indices, 8, absolute=True), 8, palette=palette, compression=1),
        bmp(bytes(4 * WIDTH * HEIGHT), 32, size=V4, compression=3, masks=MASKS_888),
    ]
    for data in sources:
        for _ in range(500):
            changed = bytearray(data)
            for place in RNG.integers(2, 140, 3):
                changed[place] = RNG.integers(0, 256)
            with contextlib.suppress(DecodeError):
                decode_bmp(bytes(changed), PixelSettings(max_pixels=1_000_000))
