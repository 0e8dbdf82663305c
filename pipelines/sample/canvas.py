"""A square picture on which shapes in head units (x, y, z) are drawn in the pose of the head."""

import math

import cv2
import numpy as np

from pipelines.arrays import Int32Array, Picture, Points, UInt8Array
from pipelines.sample.person import Colour
from pipelines.sample.shot import Pose

SIDE_PX = 256
SHADE_SIDE_PX = 64


_SHIFT = 4  # fractional bits of OpenCV's coordinates
_FIXED = 2**_SHIFT


class Canvas:
    """A picture of 256 px and a mask of soft shadows of 64 px, both drawn in one pose."""

    def __init__(self, picture: Picture, pose: Pose) -> None:
        self.picture = picture
        self.shade: UInt8Array = np.full((SHADE_SIDE_PX, SHADE_SIDE_PX), 255, dtype=np.uint8)
        self.scale = pose.head_size * SIDE_PX
        self._matrix = _projection(pose) * (self.scale * _FIXED)
        self._origin = np.array([pose.centre_x, pose.centre_y]) * (SIDE_PX * _FIXED)

    def fill(self, points: Points, colour: Colour) -> None:
        """Fill a shape (N, 3)."""
        cv2.fillPoly(self.picture, [self._project(points)], colour, cv2.LINE_AA, _SHIFT)

    def stroke(self, points: Points, colour: Colour, width: float, *, closed: bool = False) -> None:
        """Draw a line (N, 3), its width in head units."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.picture, [self._project(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)

    def discs(self, centres: Points, radius: float, colour: Colour) -> None:
        """Fill circles around centres (N, 3), facing the viewer in every pose."""
        radius_fixed = round(radius * self.scale * _FIXED)
        for centre in self._project(centres).tolist():
            cv2.circle(self.picture, centre, radius_fixed, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def shadow(self, points: Points, level: int) -> None:
        """Darken a soft shape; the level 255 changes nothing."""
        shape = self._project(points) // (SIDE_PX // SHADE_SIDE_PX)
        cv2.fillPoly(self.shade, [shape], (level,), cv2.LINE_AA, _SHIFT)

    def _project(self, points: Points) -> Int32Array:
        # Orthographic: (N, 3) to (N, 2) in OpenCV's fixed point.
        fixed: Int32Array = np.rint(points @ self._matrix + self._origin).astype(np.int32)
        return fixed


def _projection(pose: Pose) -> Points:
    """The projection (3, 2): rotate by yaw and pitch, drop the depth, then roll in the picture plane."""
    sin_yaw, cos_yaw = math.sin(pose.yaw), math.cos(pose.yaw)
    sin_pitch, cos_pitch = math.sin(pose.pitch), math.cos(pose.pitch)
    turned = np.array([[cos_yaw, -sin_yaw * sin_pitch], [0.0, cos_pitch], [sin_yaw, cos_yaw * sin_pitch]])
    sin_roll, cos_roll = math.sin(pose.roll), math.cos(pose.roll)
    projection: Points = turned @ np.array([[cos_roll, sin_roll], [-sin_roll, cos_roll]])
    return projection


def mix(left: Colour, right: Colour, share: float) -> Colour:
    """Mix two colours: share 0 is the left one, 1 the right one."""
    red, green, blue = (a + (b - a) * share for a, b in zip(left, right, strict=True))
    return red, green, blue


def dim(colour: Colour, factor: float) -> Colour:
    """Multiply a colour by a factor, up to white."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue
