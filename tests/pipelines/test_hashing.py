"""The perceptual hash against scipy's cosine transform, its mirror shortcut against a mirrored picture."""

import cv2
import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.hashing import GREY_SIDE_PX, hamming, perceptual_hashes, thumbnails, to_hash_input


def greys(num: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth pictures with grain, (num, 64, 64), no two alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num, 10, 10)).astype(np.float32)
    smooth = np.stack([cv2.resize(one, (GREY_SIDE_PX,) * 2, interpolation=cv2.INTER_CUBIC) for one in coarse])
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.float32)


def test_bits_are_the_signs_of_scipys_low_frequencies_against_their_median() -> None:
    pictures = greys(50)
    spectra = scipy.fft.dctn(pictures.astype(np.float64), axes=(1, 2), norm="ortho")[:, 1:17, 1:17].reshape(50, 256)
    distance = spectra - np.median(spectra, axis=1, keepdims=True)
    bits = np.unpackbits(perceptual_hashes(pictures).plain, axis=1).astype(bool)
    is_clear = np.abs(distance) > 1e-2
    assert is_clear.mean() > 0.99
    assert (bits == (distance > 0))[is_clear].all()


def test_the_flipped_hash_is_the_hash_of_the_mirror_image() -> None:
    pictures = greys(200, seed=1)
    flipped = perceptual_hashes(pictures).flipped
    of_mirror = perceptual_hashes(np.ascontiguousarray(pictures[:, :, ::-1])).plain
    # A frequency within rounding of the median may fall on either side.
    assert hamming(flipped, of_mirror).max() <= 2
    assert hamming(flipped, of_mirror).mean() < 0.1


def test_half_of_the_bits_are_set() -> None:
    hashes = perceptual_hashes(greys(30, seed=2))
    for side in (hashes.plain, hashes.flipped):
        assert side.shape == (30, 32)
        assert (np.unpackbits(side, axis=1).sum(axis=1) == 128).all()


def test_a_thumbnail_is_the_area_average_in_levels_of_four() -> None:
    pictures = np.rint(greys(40, seed=6))
    expected = [cv2.resize(one, (48, 48), interpolation=cv2.INTER_AREA) // 4 for one in pictures]
    assert np.abs(np.array(expected) - thumbnails(pictures)).max() <= 1  # cv2 rounds before the division
    assert (np.array(expected) == thumbnails(pictures)).mean() > 0.99
    assert thumbnails(np.full((1, 64, 64), 255, np.float32)).min() == 63
    for index in (0, 17, 39):
        assert np.array_equal(thumbnails(pictures[index : index + 1])[0], thumbnails(pictures)[index])


def test_a_hash_does_not_depend_on_the_stack_it_is_made_in() -> None:
    pictures = greys(130, seed=3)
    together = perceptual_hashes(pictures)
    for index in (0, 1, 64, 129):
        alone = perceptual_hashes(pictures[index : index + 1])
        assert np.array_equal(alone.plain[0], together.plain[index])
        assert np.array_equal(alone.flipped[0], together.flipped[index])
        assert alone.quality[0] == together.quality[index]


@pytest.mark.parametrize(("gain", "offset"), [(0.8, 0.0), (1.0, 20.0), (0.7, 30.0)])
def test_brightness_and_contrast_hardly_matter(gain: float, offset: float) -> None:
    pictures = greys(20, seed=4) * 0.7
    changed = np.clip(pictures * gain + offset, 0, 255).astype(np.float32)
    assert hamming(perceptual_hashes(pictures).plain, perceptual_hashes(changed).plain).max() <= 4


def test_strangers_are_far_apart() -> None:
    plain = perceptual_hashes(greys(60, seed=5)).plain
    distances = hamming(plain[:, None], plain[None])
    assert distances[~np.eye(60, dtype=bool)].min() > 80


def test_quality_is_nothing_for_a_flat_picture_and_all_for_a_busy_one() -> None:
    flat = np.full((GREY_SIDE_PX, GREY_SIDE_PX), 90, np.float32)
    ramp = np.broadcast_to(np.linspace(0, 255, GREY_SIDE_PX, dtype=np.float32), flat.shape)
    busy = np.random.default_rng(6).integers(0, 256, flat.shape).astype(np.float32)
    quality = perceptual_hashes(np.stack([flat, ramp, busy])).quality
    assert quality[0] == 0
    assert 0 < quality[1] < quality[2] == 100


def test_quality_is_the_sum_of_steps_of_one_per_cent_to_the_bit() -> None:
    whole = np.random.default_rng(9).integers(0, 256, (40, GREY_SIDE_PX, GREY_SIDE_PX)).astype(np.float32)
    for pictures in (whole, greys(40, seed=10), np.floor(greys(40, seed=11) / 51) * 51):
        across, down = (np.floor(np.abs(np.diff(pictures, axis=axis)) / 2.55).sum(axis=(1, 2)) for axis in (2, 1))
        expected = np.minimum(100.0, (across + down) / 90.0).astype(np.float32)
        assert perceptual_hashes(pictures).quality.tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (64, 64), (113, 57), (300, 400)])
def test_every_shape_becomes_the_hashed_grid(shape: tuple[int, int]) -> None:
    grid = to_hash_input(np.full(shape, 77, np.uint8))
    assert (grid.shape, grid.dtype) == ((GREY_SIDE_PX, GREY_SIDE_PX), np.float32)
    assert (grid == 77).all()


def test_shrinking_is_the_mean_of_each_cell() -> None:
    picture = np.random.default_rng(7).integers(0, 256, (256, 192), dtype=np.uint8)
    cells = picture.reshape(64, 4, 64, 3).mean(axis=(1, 3))
    assert np.abs(to_hash_input(picture) - cells).max() <= 0.51


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_hamming_counts_the_differing_bits(left: bytes, right: bytes) -> None:
    expected = (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).bit_count()
    assert hamming(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8)) == expected


def test_hamming_broadcasts() -> None:
    plain = perceptual_hashes(greys(5, seed=8)).plain
    distances = hamming(plain[:, None], plain[None])
    assert distances.shape == (5, 5)
    assert (np.diag(distances) == 0).all()
