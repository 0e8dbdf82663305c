"""Pixels at the input size: against Pillow, which shares no code with the fast way."""

import io
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.arrays import Picture
from pipelines.pixels import DecodeError
from pipelines.settings import PixelSettings
from training.feed.augment import Box
from training.feed.decode import centre_box, exif_orientation, jpeg_size, render
from training.feed.settings import DecodeSettings

CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}

LIMITS = PixelSettings()


def shading(width: int, height: int) -> Picture:
    """A smooth picture with a colour of its own in each corner: red, green, blue, white in reading order."""
    corners = np.array(list(CORNERS.values()), np.float32).reshape(2, 2, 3)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def encoded(rgb: Picture, picture_format: str = "JPEG", *, orientation: int | None = None, mode: str = "RGB") -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    stream = io.BytesIO()
    options = {"quality": 95} if picture_format == "JPEG" else {}
    Image.fromarray(rgb).convert(mode).save(stream, picture_format, exif=exif, **options)
    return stream.getvalue()


def rendered(data: bytes, settings: DecodeSettings) -> Picture:
    picture = np.zeros((settings.size_px, settings.size_px, 3), np.uint8)
    size = jpeg_size(data, settings.limits)
    render(data, picture, size, partial(centre_box, settings=settings), limits=settings.limits)
    return picture


def by_pillow(data: bytes, size_px: int) -> Picture:
    """Centre square, upright, resized by Pillow."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return np.asarray(
        picture.crop((left, top, left + side, top + side)).resize((size_px, size_px), Image.Resampling.BOX)
    )


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (65, 64), (200, 150), (150, 200), (640, 480), (1000, 70), (40, 30)]
)
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_any_size_and_format_gives_the_centre_square(width: int, height: int, picture_format: str) -> None:
    data = encoded(shading(width, height), picture_format)
    difference = np.abs(rendered(data, DecodeSettings(size_px=64)).astype(int) - by_pillow(data, 64))
    assert difference.mean() < 4.0  # Pillow's box filter shifts an enlarged picture a little; a wrong crop gives > 10


def test_a_jpeg_of_the_input_size_is_not_resampled() -> None:
    data = encoded(shading(64, 64))
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(rendered(data, DecodeSettings(size_px=64)) - expected).max() <= 2  # two builds of libjpeg


# How a camera held so has stored an upright scene (EXIF 2.32, tag 0x0112).
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
def test_exif_orientation_is_honoured(orientation: int, picture_format: str) -> None:
    stored = Image.fromarray(shading(64, 64))
    if STORED_AS[orientation] is not None:
        stored = stored.transpose(STORED_AS[orientation])
    data = encoded(np.asarray(stored), picture_format, orientation=orientation)
    difference = np.abs(rendered(data, DecodeSettings(size_px=64)).astype(int) - shading(64, 64))
    assert difference.mean() < 3.0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_from_the_bytes(orientation: int) -> None:
    assert exif_orientation(encoded(shading(16, 16), orientation=orientation)) == orientation
    assert exif_orientation(encoded(shading(16, 16))) == 1


def test_an_orientation_behind_other_metadata_is_found() -> None:
    data = encoded(shading(16, 16), orientation=6)
    comment = b"\xff\xfe\x00\x0b" + b"a comment"
    assert exif_orientation(data[:2] + comment + data[2:]) == 6


def test_broken_exif_is_left_to_the_slow_decoder() -> None:
    data = encoded(shading(16, 16), orientation=6)
    start = data.index(b"Exif\0\0") + 6
    for broken in (
        data[:start] + b"??" + data[start + 2 :],
        data[: start + 4] + b"\xff\xff\xff\xff" + data[start + 8 :],
    ):
        assert exif_orientation(broken) == 0
        assert rendered(broken, DecodeSettings(size_px=16)).any()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_become_rgb(mode: str) -> None:
    data = encoded(shading(64, 64), mode=mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(rendered(data, DecodeSettings(size_px=64)) - expected).mean() < 3.0


def test_stretch_shows_the_whole_picture_and_crop_the_middle() -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 255
    assert rendered(encoded(wide), DecodeSettings(size_px=32, fit="crop")).mean() > 245
    assert 75 < rendered(encoded(wide), DecodeSettings(size_px=32, fit="stretch")).mean() < 95


def test_the_crop_share_cuts_the_border_away() -> None:
    framed = np.zeros((100, 100, 3), np.uint8)
    framed[20:80, 20:80] = 255
    assert rendered(encoded(framed), DecodeSettings(size_px=48, crop=0.5)).mean() > 250
    assert centre_box(100, 60, DecodeSettings(crop=0.5)) == Box(35, 15, 30, 30)


def test_a_box_of_a_large_jpeg_is_the_same_as_of_its_pixels() -> None:
    rgb = shading(1600, 1200)
    picture = np.zeros((64, 64, 3), np.uint8)
    box = Box(137, 211, 1100, 900)
    data = encoded(rgb)
    render(data, picture, jpeg_size(data, LIMITS), lambda width, height: box, limits=LIMITS)
    region = rgb[box.top : box.top + box.height, box.left : box.left + box.width]
    expected = cv2.resize(region, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(picture - expected).max() <= 4


def test_only_upright_jpegs_go_the_fast_way() -> None:
    assert jpeg_size(encoded(shading(31, 17)), LIMITS) == (31, 17)
    assert jpeg_size(encoded(shading(31, 17), orientation=1), LIMITS) == (31, 17)
    assert jpeg_size(encoded(shading(31, 17), orientation=6), LIMITS) is None
    assert jpeg_size(encoded(shading(31, 17), "PNG"), LIMITS) is None
    assert jpeg_size(encoded(shading(31, 17))[:40], LIMITS) is None


@pytest.mark.parametrize("cut", [0, 3, 30, 400])
def test_cut_bytes_are_an_error_and_never_a_grey_picture(cut: int) -> None:
    with pytest.raises(DecodeError):
        rendered(encoded(shading(64, 64))[:cut], DecodeSettings(size_px=64))


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
def test_a_picture_above_the_limit_is_refused(picture_format: str) -> None:
    settings = DecodeSettings(size_px=64, limits=PixelSettings(max_pixels=64 * 64))
    assert rendered(encoded(shading(64, 64), picture_format), settings).any()
    with pytest.raises(DecodeError, match="too_many_pixels"):
        rendered(encoded(shading(65, 64), picture_format), settings)
