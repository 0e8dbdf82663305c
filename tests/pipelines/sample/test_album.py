"""All photos of one identity."""

import cv2
import numpy as np
import pytest

from pipelines.arrays import Picture
from pipelines.hashing import hamming, perceptual_hashes, to_hash_input
from pipelines.sample import album


def _least_distance(pictures: list[Picture]) -> int:
    greys = np.stack([to_hash_input(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) for picture in pictures])
    hashes = perceptual_hashes(greys)
    above = np.triu_indices(len(pictures), 1)
    plain, mirrored = hamming(hashes.plain[:, None], hashes.plain), hamming(hashes.plain[:, None], hashes.flipped)
    return int(min(plain[above].min(), mirrored[above].min()))


def test_photos_too_near_each_other_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [picture for picture, _ in album.draw_album(0, 1, 12, size_px=(112, 112))]
    bound = _least_distance(usual) + 6
    monkeypatch.setattr(album, "MIN_DISTANCE_BITS", bound)
    redrawn = [picture for picture, _ in album.draw_album(0, 1, 12, size_px=(112, 112))]
    assert _least_distance(redrawn) >= bound
    assert sum(not np.array_equal(a, b) for a, b in zip(usual, redrawn, strict=True)) in range(1, 6)


def test_no_photo_equals_another_of_any_identity() -> None:
    pictures = [picture for identity in range(4) for picture, _ in album.draw_album(7, identity, 5, size_px=(112, 112))]
    assert len({picture.tobytes() for picture in pictures}) == 20


def test_sharpness_is_the_variance_of_the_five_point_laplacian() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
    padded = np.pad(grey.astype(float), 1, mode="reflect")
    slow = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * padded[1:-1, 1:-1]
    assert album.sharpness(grey) == pytest.approx(slow.var(), rel=1e-4)
