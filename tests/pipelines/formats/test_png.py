"""PNG laid out chunk by chunk: what a slow decoder by the specification gives, or a refusal; never others."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TRUNCATED, UNSUPPORTED_CODING, DecodeError
from pipelines.formats.png import check_png
from pipelines.pixels import decode
from pipelines.settings import PixelSettings

SETTINGS = PixelSettings()
HEIGHT, WIDTH = 24, 21
RNG = np.random.default_rng(0)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
NUM_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16)]
DEPTHS += [(6, 8), (6, 16)]
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def packed(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Rows of samples (H, W, S) as rows of bytes."""
    digits = (samples.reshape(len(samples), -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(samples), -1).astype(np.uint8), axis=1)


def filtered(rows: NDArray[np.uint8], step: int) -> bytes:
    """Rows after filters 0 to 4 in turn (section 9)."""
    out = b""
    before = np.zeros(rows.shape[1], np.int64)
    for number, row in enumerate(rows.astype(np.int64)):
        left = np.concatenate([np.zeros(step, np.int64), row])[: len(row)]
        corner = np.concatenate([np.zeros(step, np.int64), before])[: len(row)]
        estimate = left + before - corner
        a, b, c = abs(estimate - left), abs(estimate - before), abs(estimate - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, before, corner))
        guess = [np.zeros_like(row), left, before, (left + before) // 2, paeth][number % 5]
        out += bytes([number % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        before = row
    return out


def raw_stream(samples: NDArray[Any], bits: int, interlaced: bool) -> bytes:
    num_samples = samples.shape[2]
    step = max(1, bits * num_samples // 8)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [samples[row::down, column::across] for column, row, across, down in passes]
    return b"".join(filtered(packed(part, bits), step) for part in parts if part.size)


def png(
    samples: NDArray[Any],
    colour: int,
    bits: int,
    *,
    interlaced: bool = False,
    before: bytes = b"",
    stream: bytes | None = None,
    num_pieces: int = 1,
    end: bytes | None = None,
) -> bytes:
    height, width, _ = samples.shape
    content = zlib.compress(raw_stream(samples, bits, interlaced)) if stream is None else stream
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    size = -(-len(content) // num_pieces)
    pieces = [chunk(b"IDAT", content[start : start + size]) for start in range(0, len(content), size)]
    return SIGNATURE + header + before + b"".join(pieces) + (chunk(b"IEND", b"") if end is None else end)


def drawn(colour: int, bits: int) -> NDArray[np.int64]:
    return RNG.integers(0, 1 << bits, (HEIGHT, WIDTH, NUM_SAMPLES[colour]))


PALETTE = RNG.integers(0, 256, (256, 3))


def palette_chunk(bits: int) -> bytes:
    return chunk(b"PLTE", PALETTE[: 1 << bits].astype(np.uint8).tobytes())


def expected_rgb(samples: NDArray[Any], colour: int, bits: int) -> NDArray[np.float64]:
    if colour == 3:
        return PALETTE[samples[:, :, 0]].astype(np.float64)
    levels = samples * 255 / ((1 << bits) - 1)
    if colour in {0, 2}:
        return levels.repeat(3 // levels.shape[2], axis=2)
    share = levels[:, :, -1:] / 255
    return levels[:, :, :-1] * share + 255 * (1 - share) + np.zeros(3)


def rgb_of(data: bytes) -> NDArray[np.uint8]:
    return decode(data, SETTINGS).rgb


def fault_of(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, SETTINGS)
    return caught.value.fault


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), DEPTHS)
def test_every_colour_type_and_depth_gives_the_planted_pixels(colour: int, bits: int, interlaced: bool) -> None:
    samples = drawn(colour, bits)
    before = palette_chunk(bits) if colour == 3 else b""
    data = png(samples, colour, bits, interlaced=interlaced, before=before, num_pieces=5)
    # Pillow takes the upper byte of 16 bits, of opacity too.
    tolerance = 2 if colour in {4, 6} and bits == 16 else 1
    assert np.abs(rgb_of(data) - expected_rgb(samples, colour, bits)).max() <= tolerance


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), [pair for pair in DEPTHS if pair[0] in {0, 2}])
def test_the_transparent_colour_becomes_white_and_no_other(colour: int, bits: int, interlaced: bool) -> None:
    samples = drawn(colour, bits)
    samples[5:9] = samples[7, 9]
    key = samples[7, 9].copy()
    if bits == 16:  # differs in the lower byte only, which is lost when 16 bits become 8
        samples[10:12] = key ^ 1
    data = png(samples, colour, bits, interlaced=interlaced, before=chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
    expected = expected_rgb(samples, colour, bits)
    expected[(samples == key).all(axis=2)] = 255
    assert np.abs(rgb_of(data) - expected).max() <= 1


def test_the_opacity_of_a_palette_is_laid_on_white() -> None:
    samples = drawn(3, 2)
    alpha = np.array([0, 255, 128, 255])[samples]
    data = png(samples, 3, 2, before=palette_chunk(2) + chunk(b"tRNS", b"\0\xff\x80"))
    expected = PALETTE[samples[:, :, 0]] * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(rgb_of(data) - expected).max() <= 1


COLOURS = drawn(2, 8)
RAW = raw_stream(COLOURS, 8, interlaced=False)
STREAM = zlib.compress(RAW)
BAD_FILTER = RAW[: 12 * (3 * WIDTH + 1)] + b"\x07" + RAW[12 * (3 * WIDTH + 1) + 1 :]
INTERLACED = raw_stream(COLOURS, 8, interlaced=True)
MIDDLE = len(STREAM) // 2
FIRST_HALF = chunk(b"IDAT", STREAM[: -(-len(STREAM) // 2)])
TEXT = chunk(b"tEXt", b"a\0b")


def with_header(header: bytes) -> bytes:
    """The file with another header."""
    return SIGNATURE + chunk(b"IHDR", header) + png(COLOURS, 2, 8)[33:]


# Every chunk of these has its right checksum.
DAMAGED: Mapping[str, bytes] = {
    "no stream": png(COLOURS, 2, 8, stream=b"hello world" * 20),
    "an empty stream": png(COLOURS, 2, 8, stream=b"\0"),
    "a bad filter": png(COLOURS, 2, 8, stream=zlib.compress(BAD_FILTER)),
    "zeroed bytes": png(COLOURS, 2, 8, stream=STREAM[:MIDDLE] + bytes(8) + STREAM[MIDDLE + 8 :]),
    "a wrong checksum": png(COLOURS, 2, 8, stream=STREAM[:-1] + bytes([STREAM[-1] ^ 1])),
    "no checksum": png(COLOURS, 2, 8, stream=STREAM[:-4]),
    "a stream that ends after half of the rows": png(COLOURS, 2, 8, stream=zlib.compress(RAW[: len(RAW) // 2])),
    "a stream that lacks one byte": png(COLOURS, 2, 8, stream=zlib.compress(RAW[:-1])),
    "a stream cut in the middle": png(COLOURS, 2, 8, stream=STREAM[:MIDDLE]),
    "an interlaced stream that lacks one byte": png(
        COLOURS, 2, 8, interlaced=True, stream=zlib.compress(INTERLACED[:-1])
    ),
    "an interlaced stream of the first passes": png(
        COLOURS, 2, 8, interlaced=True, stream=zlib.compress(INTERLACED[: len(INTERLACED) // 4])
    ),
    "a stream of other method": png(COLOURS, 2, 8, stream=b"\x79" + STREAM[1:]),
    "no end": png(COLOURS, 2, 8, end=b""),
    "no palette": png(drawn(3, 8), 3, 8),
    "a palette after the pixels": png(drawn(3, 8), 3, 8, end=palette_chunk(8) + chunk(b"IEND", b"")),
    "a palette of half an entry": png(drawn(3, 1), 3, 1, before=chunk(b"PLTE", bytes(5))),
    "an index beyond the palette": png(drawn(3, 8), 3, 8, before=palette_chunk(4)),
    "pixels in two parts": png(COLOURS, 2, 8, num_pieces=2).replace(FIRST_HALF, FIRST_HALF + TEXT),
    "a second header": png(COLOURS, 2, 8, before=chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))),
    "a header that is not first": SIGNATURE + TEXT + png(COLOURS, 2, 8)[8:],
    "no header": SIGNATURE + chunk(b"IDAT", STREAM) + chunk(b"IEND", b""),
    "no pixels": png(COLOURS, 2, 8)[: 8 + 25] + chunk(b"IEND", b""),
    "an impossible depth": png(COLOURS, 2, 4),
    "an unknown colour type": with_header(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 5, 0, 0, 0)),
    "a short header": with_header(bytes(12)),
    "an animation whose first picture is half": png(
        COLOURS, 2, 8, before=chunk(b"acTL", struct.pack(">II", 2, 0)), stream=zlib.compress(RAW[: len(RAW) // 2])
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_under_right_checksums_is_refused(name: str) -> None:
    assert fault_of(DAMAGED[name]) in {CORRUPT, TRUNCATED}


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), DEPTHS)
def test_a_stream_of_one_byte_too_few_is_truncated(colour: int, bits: int, interlaced: bool) -> None:
    samples = drawn(colour, bits)
    before = palette_chunk(bits) if colour == 3 else b""
    stream = zlib.compress(raw_stream(samples, bits, interlaced)[:-1])
    with pytest.raises(DecodeError, match="truncated"):
        check_png(png(samples, colour, bits, interlaced=interlaced, before=before, stream=stream), SETTINGS)


SOUND: Mapping[str, bytes] = {
    "bytes after the pixels in the stream": png(COLOURS, 2, 8, stream=zlib.compress(RAW + b"more" * 99)),
    "bytes after the stream": png(COLOURS, 2, 8, stream=STREAM + b"more" * 99),
    "bytes after the end": png(COLOURS, 2, 8) + b"more",
    "empty pieces": png(COLOURS, 2, 8, before=chunk(b"IDAT", b""), num_pieces=3),
    "a stored stream": png(COLOURS, 2, 8, stream=zlib.compress(RAW, 0)),
    "pieces of a few bytes": png(COLOURS, 2, 8, num_pieces=200),
    "a palette that is only a hint": png(COLOURS, 2, 8, before=palette_chunk(8)),
    "damaged metadata": png(COLOURS, 2, 8, before=chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff" + bytes(20))),
    "an orientation of damaged type": png(
        COLOURS, 2, 8, before=chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x63\0\0\0\x01\0\x06\0\0\0\0\0\0")
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_touches_no_pixel_is_no_damage(name: str) -> None:
    assert np.array_equal(rgb_of(SOUND[name]), COLOURS)


def test_a_stream_that_is_a_bomb_ends() -> None:
    data = png(COLOURS, 2, 8, stream=zlib.compress(RAW + bytes(50_000_000)))
    assert np.array_equal(rgb_of(data), COLOURS)


def test_the_variant_of_apple_is_named_as_unsupported() -> None:
    data = png(COLOURS, 2, 8)
    assert fault_of(SIGNATURE + chunk(b"CgBI", bytes(4)) + data[8:]) == UNSUPPORTED_CODING
    assert fault_of(data[:33] + chunk(b"ABCD", bytes(4)) + data[33:]) == UNSUPPORTED_CODING


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), DEPTHS)
def test_a_changed_or_missing_byte_of_the_stream_changes_no_pixel_silently(
    colour: int, bits: int, interlaced: bool
) -> None:
    samples = drawn(colour, bits)
    before = palette_chunk(bits) if colour == 3 else b""
    stream = zlib.compress(raw_stream(samples, bits, interlaced))
    clean = rgb_of(png(samples, colour, bits, interlaced=interlaced, before=before))
    outcomes = set()
    for position in range(0, len(stream), max(1, len(stream) // 60)):
        flipped = stream[:position] + bytes([stream[position] ^ 0x20]) + stream[position + 1 :]
        for damaged in (flipped, stream[:position], stream[:position] + stream[position + 1 :]):
            try:
                rgb = rgb_of(png(samples, colour, bits, interlaced=interlaced, before=before, stream=damaged or b"\0"))
                outcomes.add("same" if np.array_equal(rgb, clean) else "other")
            except DecodeError as error:
                outcomes.add(error.fault)
    assert "other" not in outcomes
    assert outcomes & {CORRUPT, TRUNCATED}


def encoded(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOURS.astype(np.uint8)).save(stream, "PNG", **options)
    return stream.getvalue()


def test_one_changed_byte_anywhere_is_found() -> None:
    data = encoded()
    for position in range(8, len(data)):
        damaged = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
        assert fault_of(damaged) in {CORRUPT, TRUNCATED, TOO_MANY_PIXELS}


def test_a_file_cut_anywhere_is_truncated() -> None:
    data = encoded()
    assert {fault_of(data[:length]) for length in range(8, len(data))} == {TRUNCATED}


def test_an_animation_gives_its_first_picture_and_a_cut_one_is_refused() -> None:
    data = encoded(save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT), "red")])
    assert np.array_equal(rgb_of(data), COLOURS)
    assert {fault_of(data[:length]) for length in range(8, len(data), 7)} == {TRUNCATED}


def test_a_bomb_is_refused_by_its_declared_size() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0))
    data = SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(2_501))) + chunk(b"IEND", b"")
    assert fault_of(data) == TOO_MANY_PIXELS


def test_the_facts_of_the_chunks_are_kept() -> None:
    data = png(drawn(3, 2), 3, 2, before=palette_chunk(2) + chunk(b"tRNS", b"\0\x80"))
    header = check_png(data, SETTINGS)
    assert (header.bits, header.colour, header.num_palette, header.transparency) == (2, 3, 4, b"\0\x80")
