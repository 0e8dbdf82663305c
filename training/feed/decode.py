"""One picture's bytes -> its pixels at the model's input size, with one resize at most and without the GIL.

An upright JPEG is decoded by simplejpeg (libjpeg-turbo), which for a large picture skips the detail that the resize
would throw away. Everything else, and what simplejpeg refuses, goes through the decoder that measured the picture when
it was taken in, so that both agree on the pixels of a picture and on which files are damaged.
"""

import contextlib
import math
import struct
from collections.abc import Callable, Sequence
from itertools import repeat, takewhile

import cv2
import numpy as np
import simplejpeg

from pipelines.arrays import BoolArray, Int32Array, Picture, UInt8Array
from pipelines.pixels import decode as decode_any
from pipelines.settings import PixelSettings
from training.feed.augment import Box
from training.feed.geometry import Shown
from training.feed.settings import DecodeSettings

Size = tuple[int, int]  # width and height in pixels, upright
ChooseBox = Callable[[int, int], Box]  # from the upright width and height

JPEG_START = b"\xff\xd8\xff"
JFIF_START = b"\xff\xd8\xff\xe0\x00\x10"  # the image, and a first segment of the length that JFIF's has
JFIF_BYTES = 14  # of it that follow
EXIF_START = b"Exif\0\0"
METADATA_MARKERS = frozenset(bytes([marker]) for marker in (*range(0xE0, 0xF0), 0xFE))  # APP0 to APP15, comment
ORIENTATION = 0x0112
UPRIGHT = 1
LEAST_JPEG_FACTOR = 1.6  # by which libjpeg shrinks a picture; smaller ones take longer than the whole


def centre_box(width: int, height: int, settings: DecodeSettings) -> Box:
    """The part of an upright picture that is shown without a random crop."""
    box_width, box_height = width, height
    if settings.fit == "crop":
        box_width = box_height = min(width, height)
    box_width, box_height = max(1, round(box_width * settings.crop)), max(1, round(box_height * settings.crop))
    return Box((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)


def jpeg_size(data: bytes, limits: PixelSettings) -> Size | None:
    """Width and height of an upright JPEG, for the fast path of `render`; None sends the picture down the slow path."""
    if not data.startswith(JPEG_START) or exif_orientation(data) != UPRIGHT:
        return None
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (int(width), int(height)) if int(width) * int(height) <= limits.max_pixels else None


def are_plain_jpegs(data: UInt8Array, starts: Int32Array) -> BoolArray:
    """True (N,) of the images that are JPEGs as most are written: with the segment of JFIF and no other metadata.

    These are upright. The value for an image that is shorter than these segments has no meaning.
    """
    if not len(data):
        return np.zeros(len(starts), np.bool_)
    heads = data.take(starts[:, None] + np.arange(len(JFIF_START) + JFIF_BYTES + 2), mode="clip")
    after = heads[:, -2:]
    is_jfif = (heads[:, : len(JFIF_START)] == np.frombuffer(JFIF_START, np.uint8)).all(axis=1)
    plain: BoolArray = is_jfif & (after[:, 0] == 0xFF) & (after[:, 1] < min(METADATA_MARKERS)[0])
    return plain


def render_fitting(images: Sequence[memoryview], pictures: Sequence[Picture]) -> int:
    """Decode plain JPEGs that have the size of their pictures straight into these, without asking for sizes first.

    Returns how many were done before the first that is of another size, or damaged; the pictures from there on may
    hold anything.
    """
    defaults = map(repeat, ("RGB", False, False, 0, 0, 1))
    shown: list[Picture] = []
    # Without a line of Python between one decode and the next: it would run from a cold cache.
    with contextlib.suppress(ValueError):
        shown.extend(map(simplejpeg.decode_jpeg, images, *defaults, pictures))
    fitting = takewhile(lambda pair: pair[0].shape == pair[1].shape, zip(shown, pictures, strict=False))
    return sum(1 for _ in fitting)


def render(data: bytes, picture: Picture, size: Size | None, choose_box: ChooseBox, *, limits: PixelSettings) -> Shown:
    """Decode, cut the box that ``choose_box`` names, and resize it into ``picture``.

    Args:
        data: an encoded image.
        picture: (S, S, 3) uint8, C-contiguous; is overwritten with RGB.
        size: the result of `jpeg_size` for the data.
        choose_box: is called with the upright width and height in pixels.
        limits: of the slow path, checked before it makes a pixel.

    Returns:
        The part of the picture that is shown.

    Raises:
        pipelines.pixels.DecodeError: the bytes are no readable picture.
    """
    if size is not None:
        try:
            return _render_jpeg(data, picture, size, choose_box(*size))
        except ValueError:
            pass  # a CMYK or damaged file: the slow decoder has the last word
    rgb = decode_any(data, limits).rgb
    box = choose_box(rgb.shape[1], rgb.shape[0])
    _resize(rgb, box, picture)
    return Shown(box)


def _render_jpeg(data: bytes, picture: Picture, size: Size, box: Box) -> Shown:
    side = len(picture)
    if size == (side, side) == (box.width, box.height):
        simplejpeg.decode_jpeg(data, buffer=picture)
        return Shown(box)
    rgb = simplejpeg.decode_jpeg(
        data,
        min_width=math.ceil(size[0] * side / box.width),
        min_height=math.ceil(size[1] * side / box.height),
        min_factor=LEAST_JPEG_FACTOR,
    )
    across, down = rgb.shape[1] / size[0], rgb.shape[0] / size[1]
    scaled = _scaled(box, across, down)
    _resize(rgb, scaled, picture)
    return Shown(scaled, across)


def _scaled(box: Box, across: float, down: float) -> Box:
    left, top = int(box.left * across), int(box.top * down)
    return Box(left, top, max(1, int(box.width * across)), max(1, int(box.height * down)))


def _resize(rgb: Picture, box: Box, picture: Picture) -> None:
    region = rgb[box.top : box.top + box.height, box.left : box.left + box.width]
    if region.shape == picture.shape:
        np.copyto(picture, region)
        return
    size = len(picture)
    # Below a factor of 2 a bilinear resize uses every pixel too, in a sixth of the time.
    skips = min(box.width, box.height) >= 2 * size
    cv2.resize(region, (size, size), dst=picture, interpolation=cv2.INTER_AREA if skips else cv2.INTER_LINEAR)


def exif_orientation(data: bytes) -> int:
    """EXIF orientation 1 to 8 of a JPEG; 1 where there is none, and 0 where this parser cannot read it."""
    position = 2
    # Only segments of metadata: encoders write them before the tables and the frame.
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] in METADATA_MARKERS:
        start, length = position + 4, int.from_bytes(data[position + 2 : position + 4], "big")
        position += 2 + length
        if data.startswith(EXIF_START, start):
            return _orientation_in(data[start + len(EXIF_START) : position])
    return UPRIGHT


def _orientation_in(tiff: bytes) -> int:
    """The orientation that an EXIF directory names (EXIF 2.32, section 4.6.4)."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (num_entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(num_entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == ORIENTATION:
                return int(value)
    except struct.error:
        return 0
    return UPRIGHT
