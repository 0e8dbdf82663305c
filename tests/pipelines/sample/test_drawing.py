"""One photo of one person."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipelines.sample.drawing import draw_photo
from pipelines.sample.person import BEARDS, FRAMES, HAIR_STYLES, Person, draw_person
from pipelines.sample.shot import Expression, Light, Pose, Shot, take_shot


def _photo(person: Person, shot: Shot) -> np.ndarray:
    return draw_photo(person, shot, np.random.default_rng(9))


@pytest.fixture
def person() -> Person:
    return draw_person(np.random.default_rng(5))


@pytest.fixture
def shot(person: Person) -> Shot:
    shot = take_shot(np.random.default_rng(6), person, size_px=(128, 128))
    return replace(
        shot,
        pose=Pose(yaw=0.0, pitch=0.0, roll=0.0, head_size=0.3, centre_x=0.5, centre_y=0.5),
        expression=Expression(smile=0.0, mouth_open=0.0, eyes_open=1.0, gaze_x=0.0, gaze_y=0.0, brow_raise=0.0),
        light=Light(angle=-1.5, strength=0.1, colour=(1.0, 1.0, 1.0), exposure=1.0),
        wear=replace(shot.wear, hat=None, glasses=False),
        camera=replace(shot.camera, noise=0.0),
    )


def test_a_photo_has_the_size_of_its_camera(person: Person, shot: Shot) -> None:
    narrow = replace(shot, camera=replace(shot.camera, width_px=115, height_px=128))
    assert _photo(person, narrow).shape == (128, 115, 3)
    assert _photo(person, narrow).dtype == np.uint8


def test_the_same_shot_gives_the_same_pixels(person: Person, shot: Shot) -> None:
    assert np.array_equal(_photo(person, shot), _photo(person, shot))


@pytest.mark.parametrize("style", HAIR_STYLES)
@pytest.mark.parametrize("beard", BEARDS)
def test_skin_shows_on_the_cheek_under_every_hair_and_beard(person: Person, shot: Shot, style: str, beard: str) -> None:
    worn = replace(
        person,
        hair=replace(person.hair, style=style, beard=beard),
        marks=replace(person.marks, freckles=(), moles=(), blush=0.0),
    )
    picture = cv2.resize(_photo(worn, shot), (256, 256))
    cheek = picture[143:149, 143:149].reshape(-1, 3).mean(axis=0)
    direction = np.asarray(person.skin) / np.linalg.norm(person.skin)
    assert cheek @ direction / np.linalg.norm(cheek) > 0.99


@pytest.mark.parametrize("frame", FRAMES)
def test_glasses_change_only_the_region_of_the_eyes(person: Person, shot: Shot, frame: str) -> None:
    framed = replace(person, marks=replace(person.marks, frame=frame))
    bare, worn = _photo(framed, shot), _photo(framed, replace(shot, wear=replace(shot.wear, glasses=True)))
    rows = np.flatnonzero(np.abs(bare.astype(int) - worn).max(axis=(1, 2)) > 8)
    assert len(rows) > 0
    assert 64 - 20 <= rows.min() < rows.max() <= 64 + 22


def test_another_eye_colour_changes_little_but_the_eyes(person: Person, shot: Shot) -> None:
    blue = replace(person, eyes=replace(person.eyes, iris=(40.0, 120.0, 230.0)))
    changed = np.abs(_photo(person, shot).astype(int) - _photo(blue, shot)).max(axis=2) > 8
    assert 4 < changed.sum() < 0.02 * changed.size
