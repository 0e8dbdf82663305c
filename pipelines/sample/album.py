"""All photos of one identity; a photo that would be a near-duplicate or be rejected by a rule is drawn again."""

import cv2
import numpy as np

from pipelines.arrays import BoolArray, Picture, UInt8Array
from pipelines.hashing import hamming, perceptual_hashes, to_hash_input
from pipelines.sample.drawing import draw_photo
from pipelines.sample.person import Person, draw_person
from pipelines.sample.shot import take_shot

# Stricter than the promise for the files (32 bits, sharpness 60, hash quality 50), since JPEG reduces all three.
MIN_DISTANCE_BITS = 44
MIN_SHARPNESS = 150.0
MIN_HASH_QUALITY = 55.0

_MAX_ATTEMPTS = 50
_SHARPNESS_SIDE_PX = 256


def draw_album(seed: int, identity: int, num_photos: int, *, size_px: tuple[int, int]) -> list[tuple[Picture, int]]:
    """Draw the pictures of one identity, with the JPEG quality of each; deterministic.

    The whole album depends on `num_photos`, since a photo that is too similar to an earlier one is drawn again.
    """
    person = draw_person(np.random.default_rng([seed, identity, 0]))
    album = [_draw(person, [seed, identity, 1 + photo, 0], size_px) for photo in range(num_photos)]
    for attempt in range(1, _MAX_ATTEMPTS):
        unfit = np.flatnonzero(_is_unfit([picture for picture, _ in album])).tolist()
        if not unfit:
            return album
        for photo in unfit:
            album[photo] = _draw(person, [seed, identity, 1 + photo, attempt], size_px)
    raise AssertionError(f"identity {identity} of seed {seed} has alike photos after {_MAX_ATTEMPTS} attempts")


def sharpness(grey: UInt8Array) -> float:
    """Variance of the Laplacian of a grey picture shrunk to at most 256 px: large = sharp."""
    factor = _SHARPNESS_SIDE_PX / max(grey.shape)
    small = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else grey
    return float(cv2.Laplacian(small, cv2.CV_32F).var())


def _draw(person: Person, entropy: list[int], size_px: tuple[int, int]) -> tuple[Picture, int]:
    rng = np.random.default_rng(entropy)
    shot = take_shot(rng, person, size_px=size_px)
    return draw_photo(person, shot, rng), shot.camera.jpeg_quality


def _is_unfit(pictures: list[Picture]) -> BoolArray:
    """(N,): too similar to an earlier picture, plain or mirrored, or too blurred, or too flat."""
    greys: list[UInt8Array] = [np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) for picture in pictures]
    hashes = perceptual_hashes(np.stack([to_hash_input(grey) for grey in greys]))
    distance = np.minimum(hamming(hashes.plain[:, None], hashes.plain), hamming(hashes.plain[:, None], hashes.flipped))
    is_alike = np.tril(distance < MIN_DISTANCE_BITS, -1).any(axis=1)
    is_blurred = np.array([sharpness(grey) < MIN_SHARPNESS for grey in greys])
    is_unfit: BoolArray = is_alike | is_blurred | (hashes.quality < MIN_HASH_QUALITY)
    return is_unfit
