"""The way of a picture's pixels into the model's square, as an affine map, by which boxes and points follow them.

A map is a 2x3 matrix in float64 from pixels of the upright picture to pixels of the square. Both are counted from the
corner of the picture, so that the centre of the first pixel is (0.5, 0.5).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.arrays import BoolArray, Float64Array
from training.feed.augment import Box

Maps = Float64Array  # (..., 2, 3)
Coordinates = npt.NDArray[np.floating]

HALF_PIXEL = 0.5
JPEG_STEPS = 8  # libjpeg decodes at n/8 of the size


class Shown(NamedTuple):
    """The part of a decoded picture that fills the square."""

    box: Box  # in pixels as decoded
    ratio: float = 1.0  # width of the decoded picture, which libjpeg rounds up, over that of the picture


def affine_map(shown: Shown, size_px: int, *, is_mirrored: bool) -> Maps:
    """The map (2, 3) of a picture that is shown in a square, mirrored left and right or not."""
    box = shown.box
    scale = 1.0 if shown.ratio == 1.0 else math.floor(JPEG_STEPS * shown.ratio) / JPEG_STEPS
    across, down = size_px / box.width, size_px / box.height
    placed = np.array([[scale * across, 0.0, -box.left * across], [0.0, scale * down, -box.top * down]])
    return compose(mirror_map(size_px), placed) if is_mirrored else placed


def mirror_map(size_px: int) -> Maps:
    """Left and right of a square change places."""
    return np.array([[-1.0, 0.0, size_px], [0.0, 1.0, 0.0]])


def compose(second: Maps, first: Maps) -> Maps:
    """The map that does ``first``, then ``second``."""
    linear, shift = second[..., :2], second[..., 2:]
    composed: Maps = linear @ first + np.concatenate([np.zeros_like(linear), shift], axis=-1)
    return composed


def move_points(points: Coordinates, maps: Maps) -> Coordinates:
    """Points (N, ..., 2), counted from the centre of the first pixel, by a map (N, 2, 3) each."""
    linear, shift = _beside(points, maps)
    moved = np.einsum("...ij,...j->...i", linear, points + HALF_PIXEL) + shift - HALF_PIXEL
    return np.asarray(moved, points.dtype)


def move_boxes(boxes: Coordinates, maps: Maps) -> Coordinates:
    """Boxes (N, ..., 4) of left, top, right, bottom, by a map (N, 2, 3) each: the upright boxes around their corners.

    They may lie outside the square, in part or as a whole.
    """
    corners = boxes[..., [0, 1, 2, 1, 0, 3, 2, 3]].reshape(*boxes.shape[:-1], 4, 2)
    linear, shift = _beside(corners, maps)
    moved = np.einsum("...ij,...j->...i", linear, corners) + shift
    return np.asarray(np.concatenate([moved.min(axis=-2), moved.max(axis=-2)], axis=-1), boxes.dtype)


def are_mirrored(maps: Maps) -> BoolArray:
    """True (N,) of the maps (N, 2, 3) that turn left into right."""
    return np.asarray(np.linalg.det(maps[..., :2]) < 0)


def _beside(points: Coordinates, maps: Maps) -> tuple[Maps, Maps]:
    """The linear parts and the shifts of maps (N, 2, 3), in as many dimensions as the points (N, ..., 2)."""
    wide = maps.reshape(len(maps), *[1] * (points.ndim - 2), 2, 3)
    return wide[..., :2], wide[..., 2]
