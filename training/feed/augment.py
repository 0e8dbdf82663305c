"""Random changes to one picture, drawn from (seed, epoch, image_id) alone, so that no thread or rank changes them.

The colour changes are those of Krizhevsky et al. 2012 and Howard 2013, the random crop is that of Szegedy et al. 2015
(arXiv 1409.4842, section 6), erasing is Zhong et al. 2017 (arXiv 1708.04896) with a constant grey. Not as there: a crop
that does not fit is cut to the picture instead of drawn again, and the colour changes are one affine map without
rounding in between.
"""

import hashlib
import math
import struct
from typing import NamedTuple

import cv2
import numpy as np

from pipelines.arrays import Picture
from training.feed.settings import AugmentSettings

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
ERASED = (127, 127, 127)  # nearest to 0 once normalised


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Draws(NamedTuple):
    """Sixteen independent uniform draws for one picture, as 32-bit integers."""

    flip: int
    crop_area: int
    crop_ratio: int
    crop_left: int
    crop_top: int
    brightness: int
    contrast: int
    saturation: int
    grey: int
    blur: int
    blur_sigma: int
    erase: int
    erase_area: int
    erase_ratio: int
    erase_left: int
    erase_top: int


# One hash per picture (0.6 us) instead of a seeded generator (22 us, a fifth of a decode).
_DRAWS = struct.Struct("<16I")


class Augment:
    """The changes of one epoch."""

    def __init__(self, settings: AugmentSettings, *, seed: int, epoch: int) -> None:
        self._settings = settings
        self._hash = hashlib.blake2b(f"{seed} {epoch} ".encode())
        self.crops = settings.crop_area[0] < 1.0
        recolours = max(settings.brightness, settings.contrast, settings.saturation, settings.grey) > 0.0
        changes = (
            (Draws._fields.index("flip"), settings.flip, _flip),
            (Draws._fields.index("brightness"), float(recolours), self._recolour),
            (Draws._fields.index("blur"), settings.blur, self._blur),
            (Draws._fields.index("erase"), settings.erase, self._erase),
        )
        # Only what can happen is asked for, since each question costs a hundredth of a decode.
        self._changes = [(draw, chance * 2.0**32, change) for draw, chance, change in changes if chance > 0.0]
        self.is_idle = not self.crops and not self._changes  # leaves every picture as it is

    def draws(self, image_id: str, variant: int = 0) -> Draws:
        """The draws for a picture; another variant of it gets others."""
        digest = self._hash.copy()
        digest.update(image_id.encode() if variant == 0 else f"{image_id} {variant}".encode())
        return Draws._make(_DRAWS.unpack(digest.digest()))

    def mirrors(self, draws: Draws) -> bool:
        """True where `apply` turns left into right."""
        return draws.flip < self._settings.flip * 2.0**32

    def crop(self, draws: Draws, width: int, height: int) -> Box:
        """A random box of a picture of this size; only meant where ``crops`` is true."""
        area = _between(draws.crop_area, self._settings.crop_area) * width * height
        low, high = self._settings.crop_ratio
        ratio = math.exp(_between(draws.crop_ratio, (math.log(low), math.log(high))))
        return _box(area, ratio, (width, height), (draws.crop_left, draws.crop_top))

    def apply(self, picture: Picture, draws: Draws) -> None:
        """Change an (H, W, 3) picture in place: flip, colour, blur, erase."""
        for draw, threshold, change in self._changes:
            if draws[draw] < threshold:
                change(picture, draws)

    def _recolour(self, picture: Picture, draws: Draws) -> None:
        """Saturation, contrast and brightness are affine in the colour, so one matrix does all three."""
        settings = self._settings
        brightness = _around_one(draws.brightness, settings.brightness)
        contrast = _around_one(draws.contrast, settings.contrast)
        saturation = _around_one(draws.saturation, settings.saturation)
        if draws.grey < settings.grey * 2.0**32:
            saturation = 0.0
        to_grey = np.tile(LUMA, (3, 1))
        colours = saturation * np.eye(3) + (1.0 - saturation) * to_grey
        mean_grey = float(LUMA @ np.asarray(cv2.mean(picture)[:3]))
        offset = np.full((3, 1), brightness * (1.0 - contrast) * mean_grey)
        cv2.transform(picture, np.hstack([brightness * contrast * colours, offset]), dst=picture)

    def _blur(self, picture: Picture, draws: Draws) -> None:
        cv2.GaussianBlur(picture, (0, 0), _between(draws.blur_sigma, self._settings.blur_sigma_px), dst=picture)

    def _erase(self, picture: Picture, draws: Draws) -> None:
        height, width = picture.shape[:2]
        area = _between(draws.erase_area, self._settings.erase_area) * width * height
        ratio = math.exp(_between(draws.erase_ratio, (math.log(0.3), math.log(1 / 0.3))))  # the paper's range
        box = _box(area, ratio, (width, height), (draws.erase_left, draws.erase_top))
        picture[box.top : box.top + box.height, box.left : box.left + box.width] = ERASED


def _flip(picture: Picture, draws: Draws) -> None:
    cv2.flip(picture, 1, dst=picture)


def _box(area: float, ratio: float, outer: tuple[int, int], draws: tuple[int, int]) -> Box:
    """The box of this area and ratio, cut to the outer size, at a random place in it."""
    width = min(outer[0], max(1, round(math.sqrt(area * ratio))))
    height = min(outer[1], max(1, round(math.sqrt(area / ratio))))
    left, top = (
        (draw * (room - side + 1)) >> 32 for draw, room, side in zip(draws, outer, (width, height), strict=True)
    )
    return Box(left, top, width, height)


def _between(draw: int, limits: tuple[float, float]) -> float:
    low, high = limits
    return low + (high - low) * draw * 2.0**-32


def _around_one(draw: int, largest_change: float) -> float:
    return _between(draw, (1.0 - largest_change, 1.0 + largest_change))
