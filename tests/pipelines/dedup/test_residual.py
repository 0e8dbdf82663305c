"""The residual of two thumbnails against a slow formula, and against drawn copies and drawn other photos."""

import dataclasses
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.dedup.residual import are_within, residuals
from pipelines.dedup.settings import DedupSettings
from pipelines.hashing import thumbnails, to_hash_input
from pipelines.sample.drawing import draw_photo
from pipelines.sample.person import Person, draw_person
from pipelines.sample.planted_faults import encode_jpeg
from pipelines.sample.shot import Shot, take_shot

SIDE = 48
Picture = NDArray[np.uint8]
Thumbnails = NDArray[np.uint8]


def smooth(count: int, seed: int) -> Thumbnails:
    """Smooth pictures with grain, (count, 48, 48) levels of 0..63."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 63, (count, 9, 9)).astype(np.float32)
    large = np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for one in coarse])
    return np.clip(np.rint(large + rng.normal(0, 1, large.shape)), 0, 63).astype(np.uint8)


def slow_residual(one: Thumbnails, other: Thumbnails) -> float:
    return min(_unexplained(one.astype(float), other), _unexplained(other.astype(float), one))


def _unexplained(picture: NDArray[np.float64], by: Thumbnails) -> float:
    rest = picture - _fitted(picture.ravel(), by.ravel()).reshape(SIDE, SIDE)
    levels = _worst_blocks(rest**2) / ((picture - picture.mean()) ** 2).mean() / 64
    edges = _worst_blocks(_edges(rest)) / _edges(picture).mean() / 64
    return max(3 * levels, edges)


def _fitted(picture: NDArray[np.float64], by: Thumbnails) -> NDArray[np.float64]:
    """The line that fits best, bent at every eighth level; each bend costs what four pixels would."""
    line = np.polyval(np.polyfit(by, picture, 1), by)
    hats = np.array([np.interp(by, np.arange(0, 65, 8), peak) for peak in np.eye(9)]).T
    matrix = np.concatenate([hats, 2 * np.eye(9)])
    bends, *_ = np.linalg.lstsq(matrix, np.concatenate([picture - line, np.zeros(9)]), rcond=None)
    return line + hats @ bends


def _edges(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    energy = cv2.Sobel(picture, cv2.CV_64F, 1, 0) ** 2 + cv2.Sobel(picture, cv2.CV_64F, 0, 1) ** 2
    inner = np.zeros_like(energy)
    inner[1:-1, 1:-1] = energy[1:-1, 1:-1]
    return inner


def _worst_blocks(energy: NDArray[np.float64]) -> float:
    sums = [energy[y : y + 8, x : x + 8].sum() for y in range(0, SIDE, 8) for x in range(0, SIDE, 8)]
    return float(np.mean(sorted(sums)[-2:]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0.3, 2.0))
def test_it_is_what_the_slow_formula_says(seed: int, mixed: float, gain: float) -> None:
    first, second = smooth(2, seed)
    other = np.clip((first * (1 - mixed) + second * mixed) * gain, 0, 63).astype(np.uint8)
    found = residuals(first[None], other[None])[0]
    assert found == pytest.approx(slow_residual(first, other), rel=1e-3, abs=1e-5)


def test_it_does_not_depend_on_the_order_of_a_pair_nor_on_the_pairs_beside_it() -> None:
    left, right = smooth(200, seed=1), smooth(200, seed=2)
    right[::2] = np.clip(left[::2] * 1.4, 0, 63)
    together = residuals(left, right)
    assert np.array_equal(residuals(right, left), together)
    assert np.array_equal([residuals(left[i : i + 1], right[i : i + 1])[0] for i in range(200)], together)
    rows = np.random.default_rng(0).permutation(200)
    assert np.array_equal(are_within(left, rows, right, rows, 0.4), (together <= 0.4)[rows])


@pytest.mark.parametrize("limit", [0.0, 0.01, 0.4, 3.0, 50.0])
def test_within_a_limit_is_what_has_at_most_that_residual(limit: float) -> None:
    left = smooth(150, seed=3)
    right = left.copy()
    for number, picture in enumerate(right):
        picture[: number // 4, :20] = smooth(1, seed=number)[0, : number // 4, :20]
    rows = np.arange(150)
    assert np.array_equal(are_within(left, rows, right, rows, limit), residuals(left, right) <= limit)
    mirrored = np.ascontiguousarray(left[:, :, ::-1])
    found = are_within(mirrored, rows, right, rows, limit, mirrored=True)
    assert np.array_equal(found, residuals(left, right) <= limit)


def test_a_tone_curve_leaves_nothing_and_a_picture_of_one_level_explains_nothing() -> None:
    pictures = smooth(20, seed=4) // 2
    assert residuals(pictures, pictures).max() == 0
    assert residuals(pictures, pictures * 2 + 1).max() < 1e-9
    assert residuals(pictures, np.clip(pictures * 3, 0, 63).astype(np.uint8)).max() < 0.1, "clipped in one direction"
    flat = np.full((1, SIDE, SIDE), 9, np.uint8)
    assert residuals(flat, pictures[:1])[0] > 1
    assert np.isinf(residuals(flat, flat)[0])


COPIES: dict[str, Callable[[Picture], bytes]] = {
    "quality 20": lambda picture: encode_jpeg(picture, 20),
    "half": lambda picture: encode_jpeg(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 90),
    "double": lambda picture: encode_jpeg(cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), 90),
    "bright": lambda picture: encode_jpeg(np.clip(picture * 1.35, 0, 255).astype(np.uint8), 90),
    "dark": lambda picture: encode_jpeg((picture * 0.6).astype(np.uint8), 90),
    "contrast": lambda picture: encode_jpeg(np.clip(picture * 1.4 - 51.0, 0, 255).astype(np.uint8), 90),
    "grey": lambda picture: encode_jpeg(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 90),
}
PEOPLE = 24


def drawn_shots(person: Person, shot: Shot, rng: np.random.Generator) -> Iterator[tuple[str, Shot]]:
    """Shots of one person in one pose, which differ from a photo with a shut mouth in one respect."""
    expression, light = shot.expression, shot.light
    yield (
        "laughing",
        dataclasses.replace(
            shot, expression=dataclasses.replace(expression, smile=1.0 - expression.smile, mouth_open=1.0)
        ),
    )
    opposite = dataclasses.replace(light, strength=0.6, angle=light.angle + np.pi)
    yield "light", dataclasses.replace(shot, light=opposite)
    turned = dataclasses.replace(shot.pose, yaw=shot.pose.yaw + rng.choice([-0.2, 0.2]))
    yield "turned", dataclasses.replace(shot, pose=turned)


def thumbnail(data: bytes) -> Thumbnails:
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return thumbnails(to_hash_input(np.asarray(grey, np.uint8))[None])[0]


def test_drawn_copies_are_within_the_default_and_other_photos_in_one_pose_are_not() -> None:
    limit = DedupSettings().max_residual
    copies: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    for number in range(PEOPLE):
        rng = np.random.default_rng([7, number])
        person = draw_person(rng)
        shot = take_shot(rng, person, size_px=(112, 200))
        shot = dataclasses.replace(shot, expression=dataclasses.replace(shot.expression, mouth_open=0.0))
        # The same seed draws the same background; the grain is the same too, which makes it harder.
        original = draw_photo(person, shot, np.random.default_rng([8, number]))
        own = thumbnail(encode_jpeg(original, 92))
        for name, make in COPIES.items():
            copies.setdefault(name, []).append(residuals(own[None], thumbnail(make(original))[None])[0])
        for name, other in drawn_shots(person, shot, rng):
            picture = draw_photo(person, other, np.random.default_rng([8, number]))
            others.setdefault(name, []).append(residuals(own[None], thumbnail(encode_jpeg(picture, 92))[None])[0])
    assert limit is not None
    found = {name: np.mean(np.array(values) <= limit) for name, values in copies.items()}
    assert min(found.values()) >= 0.9, found
    assert np.mean([np.array(values) <= limit for values in copies.values()]) >= 0.98
    merged = {name: np.mean(np.array(values) <= limit) for name, values in others.items()}
    assert max(merged.values()) <= 0.15, merged
