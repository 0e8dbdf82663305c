import numpy as np
import pytest

from pipelines.score.centre import cosines_to, trimmed_centre


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def person() -> np.ndarray:
    """12 pictures of one person and 6 of others, (18, 64)."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=64)
    own = direction + 0.7 * rng.normal(size=(12, 64))
    return _unit(np.concatenate([own, rng.normal(size=(6, 64))]))


def test_the_pictures_of_others_are_left_out_of_the_centre(person: np.ndarray) -> None:
    centre = trimmed_centre(person, 0.34)
    assert centre.inside.tolist() == [True] * 12 + [False] * 6
    np.testing.assert_allclose(centre.total, person[:12].astype(np.float64).sum(axis=0))


def test_a_trim_of_nothing_gives_the_plain_mean(person: np.ndarray) -> None:
    mean = person.mean(axis=0)
    np.testing.assert_allclose(trimmed_centre(person, 0.0).direction, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_picture_is_held_against_the_mean_of_the_others(person: np.ndarray) -> None:
    found = cosines_to(trimmed_centre(person, 0.34), person)
    for place, vector in enumerate(person):
        others = np.delete(person[:12], place, axis=0) if place < 12 else person[:12]
        mean = others.mean(axis=0)
        assert found[place] == pytest.approx(vector @ mean / np.linalg.norm(mean), abs=1e-6)


def test_a_picture_alone_has_nothing_to_be_held_against(person: np.ndarray) -> None:
    alone = person[:1]
    assert np.isnan(cosines_to(trimmed_centre(alone, 0.3), alone)).all()


def test_of_two_pictures_each_is_held_against_the_other(person: np.ndarray) -> None:
    two = person[:2]
    np.testing.assert_allclose(cosines_to(trimmed_centre(two, 0.3), two), two[0] @ two[1], atol=1e-6)


def test_vectors_that_cancel_out_have_no_direction() -> None:
    vectors = np.array([[1, 0], [-1, 0]], np.float32)
    assert trimmed_centre(vectors, 0.0).direction.tolist() == [0, 0]
