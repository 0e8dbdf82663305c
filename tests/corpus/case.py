"""A file of the corpus with its planted outcome, and the drawing of its pixels."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

OK = frozenset({"ok"})
DAMAGED = frozenset({"corrupt", "truncated"})  # the decoder's word for it may be either
UNSUPPORTED = frozenset({"unsupported_format", "unsupported_coding"})
TOO_LARGE = frozenset({"too_many_pixels", "too_long_side"})
NO_IMAGE = frozenset({"not_an_image"})
EMPTY = frozenset({"empty"})
CUTS = (0.05, 0.3, 0.6, 0.95)


@dataclass(frozen=True)
class Case:
    """One file."""

    name: str  # unique; with the extension that a stranger would give it
    data: bytes
    decode: frozenset[str]  # the outcomes that are right
    grey: tuple[float, float] | None = None  # mean and standard deviation of the planted grey levels, where it is read
    size: tuple[int, int] | None = None  # width and height, upright


def draw(seed: str, *, height: int = 48, width: int = 64) -> Pixels:
    """A smooth picture in colour (height, width, 3), dark on the left, different for every seed."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    return np.clip(picture * np.linspace(0.3, 1.0, width)[None, :, None], 0, 255).astype(np.uint8)


def sound(name: str, data: bytes, rgb: Pixels) -> Case:
    """A file that must give these pixels (H, W, 3) or, for one channel, (H, W)."""
    grey = rgb if rgb.ndim == 2 else cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return Case(name, data, OK, (float(grey.mean()), float(grey.std())), (grey.shape[1], grey.shape[0]))


def cut(name: str, data: bytes, shares: Iterable[float] = CUTS) -> Iterator[Case]:
    """The first part of a file, for several shares of it."""
    for share in shares:
        stem, _, extension = name.rpartition(".")
        yield Case(f"{stem}-cut-{share:g}.{extension}", data[: int(len(data) * share)], DAMAGED)
