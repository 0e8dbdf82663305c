"""Alignment of a face to the upright square that models train on, by five landmarks or by the face's box (pure).

The landmarks are moved to the positions that ArcFace (Deng et al., CVPR 2019) and its successors train with, by the
similarity transform of least squares (Umeyama, IEEE TPAMI 13(4), 1991).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.arrays import Picture, Points
from pipelines.pixels import decode
from pipelines.settings import AlignedFormat, PixelSettings, ShardSettings

# x and y of left eye, right eye, nose, left and right corner of the mouth, as seen, in a square of 112 px.
TEMPLATE_SIDE_PX = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


_JPEG_QUALITY = 95
# Bilinear sampling reads 2 x 2 pixels: below this scale it would skip some.
_MIN_SAMPLED_SCALE = 0.5
_CUT_MARGIN_PX = 2  # around the part that the aligned square shows, for sampling at its edge


@dataclass(frozen=True)
class Aligner:
    """Turns the bytes of a picture as found into those of the aligned one; deterministic."""

    size_px: int
    margin: float  # as for `crop`
    encoding: AlignedFormat
    limits: PixelSettings

    def __call__(self, image: bytes, box: Sequence[float] | None, landmarks: Sequence[float] | None) -> bytes:
        """Decode, align by the landmarks, else by the box, else by the picture's centre, and encode.

        Args:
            box: as in `faces.Face`.
            landmarks: as in `faces.Face`.

        Raises:
            DecodeError: the picture cannot be decoded.
        """
        rgb = decode(image, self.limits).rgb
        if landmarks is not None:
            return encode(align(rgb, np.reshape(landmarks, (5, 2)), self.size_px), self.encoding)
        if box is not None:
            return encode(crop(rgb, box, size_px=self.size_px, margin=self.margin), self.encoding)
        height, width = rgb.shape[:2]
        return encode(crop(rgb, (0, 0, width, height), size_px=self.size_px, margin=0.0), self.encoding)


def align(rgb: Picture, landmarks: Points, size_px: int = TEMPLATE_SIDE_PX) -> Picture:
    """Move the five landmarks (5, 2) of a picture (H, W, 3) to the template's positions in a square of `size_px`.

    The area outside the picture is black.

    Raises:
        ValueError: the landmarks coincide.
    """
    target = TEMPLATE * (size_px / TEMPLATE_SIDE_PX)
    matrix = similarity(landmarks, target)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    rgb, landmarks = _cut(rgb, landmarks, matrix, size_px)
    if scale < _MIN_SAMPLED_SCALE:
        rgb, landmarks = _shrink(rgb, landmarks, scale)
    matrix = similarity(landmarks, target)
    return cv2.warpAffine(rgb, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def similarity(source: Points, target: Points) -> Points:
    """The 2x3 matrix of rotation, scale and shift that moves points (N, 2) closest to others, without reflection.

    Umeyama's problem in the plane. There a rotation with a scale is the product with one complex number, so that his
    equations 40 to 42 become a regression of one complex variable on another.

    Raises:
        ValueError: the points of the source coincide.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    z, w = (source - source_mean) @ _TO_COMPLEX, (target - target_mean) @ _TO_COMPLEX
    spread = np.vdot(z, z).real
    if spread == 0:
        raise ValueError("the points coincide")
    turn = np.vdot(z, w) / spread
    rotation = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def crop(rgb: Picture, box: Sequence[float], *, size_px: int, margin: float) -> Picture:
    """The square around a box of a picture (H, W, 3), resized to `size_px`.

    The square is moved inside the picture and limited to its size, so that no padding is needed.

    Args:
        box: x, y, width, height.
        margin: added to the longer side of the box, as a share of that side.
    """
    height, width = rgb.shape[:2]
    left, top, box_width, box_height = box
    side = int(np.clip(round(max(box_width, box_height) * (1 + margin)), 1, min(width, height)))
    x = int(np.clip(round(left + (box_width - side) / 2), 0, width - side))
    y = int(np.clip(round(top + (box_height - side) / 2), 0, height - side))
    method = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    return cv2.resize(rgb[y : y + side, x : x + side], (size_px, size_px), interpolation=method)  # type: ignore[return-value]


def encode(rgb: Picture, encoding: AlignedFormat) -> bytes:
    """The bytes of a picture (H, W, 3): PNG, or JPEG of quality 95 with all of the colour (4:4:4)."""
    options: list[int] = []
    if encoding == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(f".{encoding}", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def _cut(rgb: Picture, landmarks: Points, matrix: Points, size_px: int) -> tuple[Picture, Points]:
    """The part of a picture that the aligned square shows: OpenCV warps no picture of more than 32,766 px a side."""
    low, high = -_CUT_MARGIN_PX, size_px + _CUT_MARGIN_PX
    corners = np.array([[low, low], [low, high], [high, low], [high, high]])
    shown = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    sides = np.array([rgb.shape[1], rgb.shape[0]])
    left, top = start = np.clip(np.floor(shown.min(axis=0)), 0, sides - 1).astype(int)
    right, bottom = np.clip(np.ceil(shown.max(axis=0)), start + 1, sides).astype(int)
    return rgb[top:bottom, left:right], landmarks - start


def _shrink(rgb: Picture, landmarks: Points, scale: float) -> tuple[Picture, Points]:
    height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    ratio = np.array([width / rgb.shape[1], height / rgb.shape[0]])
    # Coordinates begin at the centre of the first pixel, which scaling moves relative to the picture's corner.
    return small, (landmarks + 0.5) * ratio - 0.5  # type: ignore[return-value]


_TO_COMPLEX = np.array([1, 1j])


def aligner_of(settings: ShardSettings, limits: PixelSettings) -> Aligner | None:
    """The aligner of a dataset's pictures; None where they are stored as found."""
    if settings.align_px is None:
        return None
    return Aligner(settings.align_px, margin=settings.align_margin, encoding=settings.align_format, limits=limits)
