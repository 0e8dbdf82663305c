"""The scene around the head: the background, and light, camera and grain."""

import functools
import math
from collections.abc import Callable

import cv2
import numpy as np

from pipelines.arrays import Float32Array, Picture, UInt8Array
from pipelines.sample.canvas import SHADE_SIDE_PX, SIDE_PX
from pipelines.sample.shot import Camera, Light

_GRAIN_SIDE_PX = 640
_GRID = np.linspace(-1.0, 1.0, SHADE_SIDE_PX, dtype=np.float32)


def background(rng: np.random.Generator) -> Picture:
    """A background with strong coarse structure, (256, 256, 3), so that the hashes of two photos differ."""
    picture = _gradient(rng)
    _BACKDROPS[rng.integers(len(_BACKDROPS))](picture, rng)
    return picture


def _gradient(rng: np.random.Generator) -> Picture:
    corners = rng.integers(70, 186, (2, 2, 3)).astype(np.uint8)
    return cv2.resize(corners, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _colours(rng: np.random.Generator, count: int) -> list[list[int]]:
    colours: list[list[int]] = rng.integers(55, 201, (count, 3)).tolist()
    return colours


def _bokeh(picture: Picture, rng: np.random.Generator) -> None:
    places = rng.integers(0, SIDE_PX, (14, 2)).tolist()
    for place, radius, colour in zip(places, rng.integers(12, 46, 14).tolist(), _colours(rng, 14), strict=True):
        cv2.circle(picture, place, radius, colour, cv2.FILLED, cv2.LINE_AA)


def _stripes(picture: Picture, rng: np.random.Generator) -> None:
    angle, step = rng.uniform(0, np.pi), int(rng.integers(26, 64))
    normal = np.array([math.cos(angle), math.sin(angle)])
    along = np.array([-normal[1], normal[0]]) * 400
    colours = _colours(rng, 3)
    for index, offset in enumerate(range(-190, 190, step)):
        middle = SIDE_PX / 2 + normal * (offset + rng.integers(-8, 9))
        start, end = (np.rint(middle + sign * along).astype(int).tolist() for sign in (-1, 1))
        cv2.line(picture, start, end, colours[index % 3], int(rng.integers(8, step)), cv2.LINE_AA)


def _shelves(picture: Picture, rng: np.random.Generator) -> None:
    top = 0
    while top < SIDE_PX:
        height, left = int(rng.integers(30, 80)), int(rng.integers(-30, 0))
        for width, colour in zip(rng.integers(14, 60, 9).tolist(), _colours(rng, 9), strict=True):
            cv2.rectangle(picture, (left, top + int(colour[0] / 10)), (left + width, top + height), colour, cv2.FILLED)
            left += width + 4
        top += height + 6


def _hills(picture: Picture, rng: np.random.Generator) -> None:
    for level, colour in zip((60, 100, 150, 200), _colours(rng, 4), strict=True):
        heights = level + rng.integers(-45, 46, 6)
        ridge = np.stack([np.linspace(-10, SIDE_PX + 10, 6).astype(np.int64), heights], axis=-1)
        shape = np.concatenate([ridge, [[SIDE_PX + 10, SIDE_PX + 10], [-10, SIDE_PX + 10]]]).astype(np.int32)
        cv2.fillPoly(picture, [shape], colour, cv2.LINE_AA)
    cv2.circle(picture, rng.integers(0, SIDE_PX, 2).tolist(), 26, _colours(rng, 1)[0], cv2.FILLED, cv2.LINE_AA)


def _room(picture: Picture, rng: np.random.Generator) -> None:
    for colour in _colours(rng, 7):
        left, top = rng.integers(-40, SIDE_PX - 20, 2).tolist()
        width, height = rng.integers(40, 130, 2).tolist()
        cv2.rectangle(picture, (left, top), (left + width, top + height), colour, cv2.FILLED)
        cv2.rectangle(picture, (left + 8, top + 8), (left + width - 8, top + height - 8), colour[::-1], 5)


def _leaves(picture: Picture, rng: np.random.Generator) -> None:
    colours = _colours(rng, 18)
    places, axes = rng.integers(0, SIDE_PX, (18, 2)).tolist(), rng.integers(10, 52, (18, 2)).tolist()
    for place, axis, angle, colour in zip(places, axes, rng.integers(0, 180, 18).tolist(), colours, strict=True):
        cv2.ellipse(picture, place, axis, angle, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)


_BACKDROPS: tuple[Callable[[Picture, np.random.Generator], None], ...] = (
    _bokeh,
    _stripes,
    _shelves,
    _hills,
    _room,
    _leaves,
)


def expose(picture: Picture, shade: UInt8Array, light: Light, camera: Camera) -> Float32Array:
    """Light a drawn picture and resize it to the camera's size: (height, width, 3), grey levels 0..255."""
    size = (camera.width_px, camera.height_px)
    margin = (SIDE_PX - SIDE_PX * camera.width_px // camera.height_px) // 2
    # Area interpolation takes five times as long; the shapes are smooth and shrink by little more than two.
    small = cv2.resize(picture[:, margin : SIDE_PX - margin], size, interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(shade, (9, 9), 0)
    slope = _GRID[None, :] * math.cos(light.angle) + _GRID[:, None] * math.sin(light.angle)
    level = soft * ((light.exposure / 255.0) * (1.0 + light.strength * slope))
    coloured = level[:, :, None] * np.asarray(light.colour)
    fall = cv2.resize(coloured.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(small, fall, dtype=cv2.CV_32F), np.float32)


def add_grain(lit: Float32Array, camera: Camera, rng: np.random.Generator) -> Picture:
    """Add sensor grain, equal in the three channels, and round to 8 bits."""
    top, left = rng.integers(0, _GRAIN_SIDE_PX - SIDE_PX, 2).tolist()
    grain = _grain()[top : top + camera.height_px, left : left + camera.width_px]
    return np.asarray(cv2.addWeighted(lit, 1.0, grain, camera.noise, 0.0, dtype=cv2.CV_8U), np.uint8)


@functools.cache
def _grain() -> Float32Array:
    # One field, of which each photo takes a window: new noise for each would take a tenth of a photo's time.
    field = np.random.default_rng(0).standard_normal((_GRAIN_SIDE_PX, _GRAIN_SIDE_PX, 1), dtype=np.float32)
    return np.repeat(field, 3, axis=2)
