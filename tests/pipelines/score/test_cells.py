import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from pipelines.score.cells import find_means, nearest_cells, plan_cells


@pytest.mark.parametrize(("num_vectors", "cells"), [(0, 1), (1, 1), (100, 1), (101, 2), (1000, 10)])
def test_a_set_that_fits_into_a_cell_is_one(num_vectors: int, cells: int) -> None:
    assert plan_cells(num_vectors, vectors_per_cell=100) == cells


@pytest.fixture
def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in four clouds far from each other, in random order, and which is whose."""
    rng = np.random.default_rng(0)
    belongs = rng.integers(0, 4, 400)
    rows = np.eye(16)[belongs] + 0.1 * rng.normal(size=(400, 16))
    # The means start at the first vectors: one of each cloud.
    first = [int(np.argmax(belongs == cloud)) for cloud in range(4)]
    order = first + [row for row in range(400) if row not in first]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)[order], belongs[order]


def test_clouds_become_cells(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, belongs = clouds
    means = find_means(vectors, 4)
    assert adjusted_rand_score(belongs, nearest_cells(vectors, means, 1)[:, 0]) == 1.0
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=1e-6)


def test_the_nearest_cells_come_first(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = clouds
    means = find_means(vectors, 4)
    distances = np.linalg.norm(vectors[:, None] - means, axis=2)
    assert nearest_cells(vectors, means, 2).tolist() == np.argsort(distances, axis=1)[:, :2].tolist()
    assert nearest_cells(vectors, means, 9).shape == (400, 4)


def test_a_mean_that_nothing_is_near_to_stays(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    vectors = np.repeat(clouds[0][:1], 8, axis=0)
    np.testing.assert_allclose(find_means(vectors, 3), vectors[:3], atol=1e-6)
