"""Formats read through Pillow: every mode gives the planted pixels, every damaged checksum is found."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TRUNCATED, UNSUPPORTED_CODING, DecodeError
from pipelines.raster import check_png, decode_raster, reads_heif
from pipelines.settings import PixelSettings

reads_heif()

SETTINGS = PixelSettings()
RAMP = np.add.outer(np.arange(24) * 4, np.arange(40) * 4).astype(np.uint8)
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=2)


def encoded(picture: Image.Image, picture_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, picture_format, **options)
    return stream.getvalue()


def rgb_of(data: bytes, picture_format: str) -> NDArray[np.uint8]:
    return decode_raster(data, picture_format, SETTINGS)[0]


def fault_of(data: bytes, picture_format: str, settings: PixelSettings = SETTINGS) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_raster(data, picture_format, settings)
    return caught.value.fault


@pytest.mark.parametrize("picture_format", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"])
def test_a_lossless_format_gives_the_planted_pixels(picture_format: str) -> None:
    options = {"lossless": True} if picture_format == "WEBP" else {}
    assert np.array_equal(rgb_of(encoded(Image.fromarray(COLOURS), picture_format, **options), picture_format), COLOURS)


def test_avif_gives_nearly_the_planted_pixels() -> None:
    rgb = rgb_of(encoded(Image.fromarray(COLOURS), "AVIF", quality=95), "AVIF")
    assert np.abs(rgb.astype(int) - COLOURS).mean() < 4


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_heif_gives_nearly_the_planted_pixels(mode: str) -> None:
    picture = Image.fromarray(COLOURS).convert(mode)
    rgb, header = decode_raster(encoded(picture, "HEIF", quality=95), "HEIF", SETTINGS)
    assert header.mode == mode
    assert np.abs(rgb.astype(int) - np.asarray(picture.convert("RGB"))).mean() < 4


@pytest.mark.parametrize("primary", [0, 1])
def test_a_heif_of_several_pictures_gives_the_primary_one(primary: int) -> None:
    pictures = [Image.new("RGB", (64, 48), "red"), Image.new("RGB", (48, 64), "blue")]
    data = encoded(pictures[0], "HEIF", save_all=True, append_images=pictures[1:], primary_index=primary)
    rgb = rgb_of(data, "HEIF")
    assert rgb.shape == ((48, 64, 3), (64, 48, 3))[primary]
    assert np.abs(rgb.astype(int) - ([255, 0, 0], [0, 0, 255])[primary]).max() <= 4


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA"])
def test_every_png_mode_is_read_and_named(mode: str) -> None:
    picture = Image.fromarray(COLOURS).convert(mode)
    rgb, header = decode_raster(encoded(picture, "PNG"), "PNG", SETTINGS)
    assert header.mode == mode
    assert np.array_equal(rgb, np.asarray(picture.convert("RGB")))


def test_cmyk_tiff_is_read() -> None:
    picture = Image.fromarray(COLOURS).convert("CMYK")
    assert np.array_equal(rgb_of(encoded(picture, "TIFF"), "TIFF"), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("picture_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_to_eight(picture_format: str) -> None:
    levels = np.array([[0, 128, 129, 257, 32_768, 65_406, 65_407, 65_535]], np.uint16)
    rgb = rgb_of(encoded(Image.fromarray(levels), picture_format), picture_format)
    assert np.array_equal(rgb[:, :, 0], np.round(levels / 257).astype(np.uint8))
    assert (rgb == rgb[:, :, :1]).all()


@pytest.mark.parametrize("num_channels", [3, 4])
def test_sixteen_bits_of_colour_are_scaled_to_eight(num_channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 65_536, (9, 7, num_channels), dtype=np.uint16)
    levels[:, :, 3:] = 65_535
    bgr_first = np.concatenate([levels[:, :, 2::-1], levels[:, :, 3:]], axis=2)
    rgb = rgb_of(cv2.imencode(".png", bgr_first)[1].tobytes(), "PNG")
    assert np.abs(rgb - levels[:, :, :3] / 257).max() <= 1


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_fixed_range_are_refused_by_name(dtype: type) -> None:
    data = encoded(Image.fromarray(np.ones((4, 4), dtype)), "TIFF")
    assert fault_of(data, "TIFF") == UNSUPPORTED_CODING


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(picture_format: str) -> None:
    alpha = np.broadcast_to(np.linspace(0, 255, 40).astype(np.uint8), RAMP.shape)
    options = {"lossless": True, "exact": True} if picture_format == "WEBP" else {}
    data = encoded(Image.fromarray(np.dstack([COLOURS, alpha])), picture_format, **options)
    share = alpha[:, :, None] / 255
    expected = COLOURS * share + 255 * (1 - share)
    assert np.abs(rgb_of(data, picture_format) - expected).max() <= 1


def test_transparent_grey_is_laid_on_white() -> None:
    alpha = np.linspace(0, 255, 40).astype(np.uint8)
    picture = Image.fromarray(np.dstack([RAMP, np.broadcast_to(alpha, RAMP.shape)]), "LA")
    expected = RAMP * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(rgb_of(encoded(picture, "PNG"), "PNG") - expected[:, :, None]).max() <= 1


def test_a_transparent_palette_entry_becomes_white() -> None:
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    rgb = rgb_of(encoded(picture, "PNG", transparency=0), "PNG")
    assert rgb.tolist() == [[[255] * 3, [40, 50, 60]], [[40, 50, 60], [255] * 3]]


@pytest.mark.parametrize("picture_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(picture_format: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], picture_format, save_all=True, append_images=frames[1:])
    rgb = rgb_of(data, picture_format)
    assert rgb.shape == (6, 8, 3)
    assert np.abs(rgb.astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1)])
@pytest.mark.parametrize("picture_format", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF"])
def test_one_pixel_wide_or_high_is_fine(shape: tuple[int, int], picture_format: str) -> None:
    assert rgb_of(encoded(Image.fromarray(np.zeros(shape, np.uint8)), picture_format), picture_format).shape == (
        *shape,
        3,
    )


def test_a_tiff_is_not_turned_twice() -> None:
    rgb, header = decode_raster(encoded(Image.fromarray(COLOURS), "TIFF", tiffinfo={0x0112: 6}), "TIFF", SETTINGS)
    assert (header.orientation, header.is_turned) == (6, True)
    assert np.array_equal(rgb, np.rot90(COLOURS, -1))


def chunk_starts(png: bytes) -> list[int]:
    starts, position = [], 8
    while position < len(png):
        starts.append(position)
        position += 12 + int.from_bytes(png[position : position + 4], "big")
    return starts


def test_one_changed_byte_anywhere_in_a_png_is_found() -> None:
    png = encoded(Image.fromarray(COLOURS), "PNG")
    for position in range(8, len(png)):
        damaged = png[:position] + bytes([png[position] ^ 0x10]) + png[position + 1 :]
        assert fault_of(damaged, "PNG") in {CORRUPT, TRUNCATED, TOO_MANY_PIXELS}


def test_a_png_cut_anywhere_is_truncated() -> None:
    png = encoded(Image.fromarray(COLOURS), "PNG")
    assert {fault_of(png[:length], "PNG") for length in range(8, len(png))} == {TRUNCATED}


def test_bytes_after_the_end_of_a_png_are_no_damage() -> None:
    check_png(encoded(Image.fromarray(COLOURS), "PNG") + b"more")


def test_a_png_without_pixel_data_is_refused() -> None:
    png = encoded(Image.fromarray(COLOURS), "PNG")
    first, last = chunk_starts(png)[0], chunk_starts(png)[-1]
    assert fault_of(png[: first + 25] + png[last:], "PNG") in {CORRUPT, TRUNCATED}


def test_a_bomb_is_refused_by_its_declared_size() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    pieces = (header, b"IDAT" + zlib.compress(bytes(2_501)), b"IEND")
    chunks = (struct.pack(">I", len(piece) - 4) + piece + struct.pack(">I", zlib.crc32(piece)) for piece in pieces)
    assert fault_of(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), "PNG") == TOO_MANY_PIXELS


@pytest.mark.parametrize("picture_format", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF"])
def test_half_a_file_is_refused(picture_format: str) -> None:
    data = encoded(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), picture_format
    )
    assert fault_of(data[: len(data) // 2], picture_format) in {TRUNCATED, CORRUPT}
