"""What is round the head."""

import math

import numpy as np

from pipelines.hashing import hamming, perceptual_hashes, to_hash_input
from pipelines.sample import scene
from pipelines.sample.canvas import SHADE_SIDE_PX, SIDE_PX
from pipelines.sample.shot import Camera, Light

_CAMERA = Camera(width_px=120, height_px=120, noise=3.0, jpeg_quality=90)
_LIGHT = Light(angle=0.0, strength=0.4, colour=(1.0, 0.9, 1.0), exposure=0.8)


def test_backgrounds_alone_are_far_apart_for_a_hash() -> None:
    pictures = [scene.background(np.random.default_rng(seed)) for seed in range(60)]
    hashes = perceptual_hashes(np.stack([to_hash_input(picture.mean(axis=2).astype(np.uint8)) for picture in pictures]))
    distances = hamming(hashes.plain[:, None], hashes.plain)[np.triu_indices(60, 1)]
    assert distances.min() > 60


def test_light_falls_from_its_side_in_its_colour() -> None:
    white = np.full((SIDE_PX, SIDE_PX, 3), 200, np.uint8)
    lit = scene.expose(white, np.full((SHADE_SIDE_PX, SHADE_SIDE_PX), 255, np.uint8), _LIGHT, _CAMERA)
    column = lit[60].mean(axis=1)
    assert np.all(np.diff(column[5:-5]) > 0)
    assert math.isclose(lit[:, :, 0].mean(), 200 * 0.8, rel_tol=0.01)
    assert math.isclose(lit[:, :, 1].mean(), 200 * 0.8 * 0.9, rel_tol=0.01)


def test_grain_has_the_asked_strength() -> None:
    grey = np.full((120, 120, 3), 128, np.float32)
    grainy = scene.add_grain(grey, _CAMERA, np.random.default_rng(0))
    assert abs(grainy.std() - 3.0) < 0.2
    assert abs(grainy.mean() - 128.0) < 0.2
