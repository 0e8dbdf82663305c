"""Every format that is no JPEG: each mode gives the planted pixels, and a file that is cut anywhere is refused."""

import io
import struct

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TRUNCATED, UNSUPPORTED_CODING, DecodeError
from pipelines.formats.raster import decode_raster
from pipelines.formats.signatures import reads_heif
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


def test_a_tiff_is_left_as_it_is_stored() -> None:
    rgb, header = decode_raster(encoded(Image.fromarray(COLOURS), "TIFF", tiffinfo={0x0112: 6}), "TIFF", SETTINGS)
    assert (header.orientation, header.is_turned) == (6, False)
    assert np.array_equal(rgb, COLOURS)


SMALL = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1))
OTHER = SMALL.transpose(Image.Transpose.ROTATE_180)
DIGITS = " ".join(map(str, np.asarray(SMALL).ravel())).encode()

# Every format, and the codings in which a file may end early.
WHOLE = {
    "GIF": ("GIF", encoded(SMALL, "GIF")),
    "interlaced GIF": ("GIF", encoded(SMALL, "GIF", interlace=True)),
    "animated GIF": ("GIF", encoded(SMALL, "GIF", save_all=True, append_images=[OTHER])),
    "BMP": ("BMP", encoded(SMALL, "BMP")),
    "BMP with a palette": ("BMP", encoded(SMALL.convert("P"), "BMP")),
    "TIFF": ("TIFF", encoded(SMALL, "TIFF")),
    "TIFF of LZW": ("TIFF", encoded(SMALL, "TIFF", compression="tiff_lzw")),
    "TIFF of JPEG": ("TIFF", encoded(SMALL, "TIFF", compression="jpeg")),
    "TIFF of fax": ("TIFF", encoded(SMALL.convert("1"), "TIFF", compression="group4")),
    "PNG": ("PNG", encoded(SMALL, "PNG")),
    "animated PNG": ("PNG", encoded(SMALL, "PNG", save_all=True, append_images=[OTHER])),
    "WebP": ("WEBP", encoded(SMALL, "WEBP")),
    "lossless WebP": ("WEBP", encoded(SMALL, "WEBP", lossless=True)),
    "WebP with opacity": ("WEBP", encoded(SMALL.convert("RGBA").rotate(10), "WEBP")),
    "animated WebP": ("WEBP", encoded(SMALL, "WEBP", save_all=True, append_images=[OTHER])),
    "PPM": ("PPM", encoded(SMALL, "PPM")),
    "PBM": ("PPM", encoded(SMALL.convert("1"), "PPM")),
    "PPM of 100 levels": ("PPM", b"P6\n44 36\n100\n" + (np.asarray(SMALL) // 3).tobytes()),
    "PPM in digits": ("PPM", b"P3\n44 36\n255\n" + DIGITS + b"\n"),
    "PGM in digits": ("PPM", b"P2\n132 36\n255\n" + DIGITS + b"\n"),
    "PBM in digits": ("PPM", b"P1\n44 36\n" + b"01" * (22 * 36)),
    "JPEG 2000": ("JPEG2000", encoded(SMALL, "JPEG2000")),
    "lossy JPEG 2000": ("JPEG2000", encoded(SMALL, "JPEG2000", irreversible=True, quality_layers=[20])),
    "bare JPEG 2000": ("JPEG2000", encoded(SMALL, "JPEG2000", no_jp2=True)),
    "JPEG 2000 of tiles": ("JPEG2000", encoded(SMALL, "JPEG2000", tile_size=(16, 16))),
    "AVIF": ("AVIF", encoded(SMALL, "AVIF")),
    "animated AVIF": ("AVIF", encoded(SMALL, "AVIF", save_all=True, append_images=[OTHER])),
    "HEIF": ("HEIF", encoded(SMALL, "HEIF")),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_is_refused_or_lacks_no_pixel(name: str) -> None:
    picture_format, data = WHOLE[name]
    clean = rgb_of(data, picture_format)
    step = max(1, len(data) // 300)
    for length in {*range(4, len(data), step), *range(len(data) - 12, len(data))}:
        try:
            rgb = rgb_of(data[:length], picture_format)
        except DecodeError as error:
            assert error.fault in {TRUNCATED, CORRUPT}  # noqa: PT017
        else:
            assert np.array_equal(rgb, clean), f"cut at {length} of {len(data)}"


@pytest.mark.parametrize("picture_format", ["AVIF", "HEIF"])
def test_a_bomb_that_the_library_refuses_is_named_by_its_size(picture_format: str) -> None:
    data = encoded(SMALL, picture_format)
    place = data.rindex(b"ispe") + 8
    bomb = data[:place] + struct.pack(">II", 60_000, 60_000) + data[place + 8 :]
    assert fault_of(bomb, picture_format) == TOO_MANY_PIXELS


# Levels of a row, and what they are of 255.
PNM = {
    "P1": (b"P1 4 1 1 0\n0 1\n", [0, 255, 255, 0]),
    "P1 without spaces": (b"P1\n# a comment\n4 1\n1001", [0, 255, 255, 0]),
    "P2 of 15 levels": (b"P2 4 1 15 0 5 10 15\n", [0, 85, 170, 255]),
    "P2 of 65,535 levels": (b"P2 4 1 65535 0 257 32896 65535\n", [0, 1, 128, 255]),
    "P4": (b"P4 4 1\n\x90", [0, 255, 255, 0]),
    "P5": (b"P5 4 1 255\n\0\x01\x80\xff", [0, 1, 128, 255]),
    "P5 of 51 levels": (b"P5 4 1 51\n\0\x01\x02\x33", [0, 5, 10, 255]),
    "P5 of 1,023 levels": (b"P5 4 1 1023\n\0\0\0\x04\x02\0\x03\xff", [0, 1, 128, 255]),
    "P5 of 65,535 levels": (b"P5 4 1 65535\n\0\0\x01\x01\x80\x80\xff\xff", [0, 1, 128, 255]),
    "P6 of 65,535 levels": (b"P6 4 1 65535\n" + b"\0" * 6 + b"\x01" * 6 + b"\x80" * 6 + b"\xff" * 6, [0, 1, 128, 255]),
    "P3 of 15 levels": (b"P3 4 1 15 0 0 0 5 5 5 10 10 10 15 15 15\n", [0, 85, 170, 255]),
}


@pytest.mark.parametrize("name", PNM)
def test_a_pnm_of_any_range_is_scaled_to_eight_bits(name: str) -> None:
    data, levels = PNM[name]
    assert np.abs(rgb_of(data, "PPM")[0] - np.array(levels)[:, None]).max() <= 1


def test_no_error_of_a_first_load_is_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = type(Image.open(io.BytesIO(encoded(SMALL, "WEBP"))))
    calls = []

    def fails_once(picture: Image.Image) -> None:
        calls.append(picture)
        if len(calls) == 1:
            raise OSError("damaged")

    monkeypatch.setattr(plugin, "load", fails_once)
    assert fault_of(encoded(SMALL, "WEBP"), "WEBP") == CORRUPT
    assert len(calls) == 1
