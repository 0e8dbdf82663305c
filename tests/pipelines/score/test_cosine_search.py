import numpy as np
import pytest

from pipelines.score import cosine_search
from pipelines.score.cosine_search import CosinePairs, close_pairs, nearest, prominence


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosine_search, "_BLOCK", 7)


@pytest.fixture
def vectors() -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(40, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _pairs(found: CosinePairs) -> dict[tuple[int, int], float]:
    return dict(zip(zip(found.left.tolist(), found.right.tolist(), strict=True), found.cosine.tolist(), strict=True))


def test_every_pair_above_the_floor_is_found_once(vectors: np.ndarray) -> None:
    wanted = {
        (one, other): float(vectors[one] @ vectors[other])
        for one in range(40)
        for other in range(one + 1, 40)
        if vectors[one] @ vectors[other] >= 0.3
    }
    found = close_pairs(vectors, min_cosine=0.3, most=40)
    assert len(found.left) == len(wanted)
    assert _pairs(found) == pytest.approx(wanted, abs=1e-6)


def test_of_many_close_ones_the_closest_count(vectors: np.ndarray) -> None:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    wanted = {
        (min(row, other), max(row, other)) for row in range(40) for other in np.argsort(-cosines[row])[:3].tolist()
    }
    assert set(_pairs(close_pairs(vectors, min_cosine=-1, most=3))) == wanted


@pytest.mark.parametrize("count", [0, 1])
def test_there_are_no_pairs_of_fewer_than_two(vectors: np.ndarray, count: int) -> None:
    assert len(close_pairs(vectors[:count], min_cosine=-1, most=5).left) == 0


def test_the_nearest_centres_come_in_order(vectors: np.ndarray) -> None:
    centres = vectors[:5]
    found = nearest(vectors, centres, count=2)
    wanted = np.argsort(-(vectors @ centres.T), axis=1)[:, :2]
    assert found.left.tolist() == np.repeat(np.arange(40), 2).tolist()
    assert found.right.tolist() == wanted.ravel().tolist()
    np.testing.assert_allclose(found.cosine, np.take_along_axis(vectors @ centres.T, wanted, 1).ravel(), atol=1e-6)


def test_without_centres_or_vectors_nothing_is_nearest(vectors: np.ndarray) -> None:
    assert len(nearest(vectors, vectors[:0], count=2).left) == 0
    assert len(nearest(vectors[:0], vectors, count=2).left) == 0
    assert nearest(vectors, vectors[:1], count=2).right.tolist() == [0] * 40


def test_a_pair_stands_out_of_what_is_near_to_both(vectors: np.ndarray) -> None:
    cosines = (vectors @ vectors.T).astype(float)
    np.fill_diagonal(cosines, np.nan)
    pairs = close_pairs(vectors, min_cosine=0.3, most=40)
    for left, right, found in zip(pairs.left, pairs.right, prominence(vectors, pairs, cohort=6), strict=True):
        crowds = [np.sort(cosines[side])[-7:-1] for side in (left, right)]
        sides = [(cosines[left, right] - crowd.mean()) / crowd.std() for crowd in crowds]
        assert found == pytest.approx(np.mean(sides), abs=1e-3)


def test_nothing_stands_out_of_a_crowd_of_one(vectors: np.ndarray) -> None:
    pairs = close_pairs(vectors[:2], min_cosine=-1, most=5)
    assert prominence(vectors[:2], pairs, cohort=20).tolist() == [0.0]
    assert len(prominence(vectors[:0], CosinePairs(*[np.empty(0, int)] * 3), cohort=20)) == 0
