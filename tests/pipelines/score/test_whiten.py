import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from pipelines.score.whiten import find_whitening


@pytest.mark.parametrize("count", [6, 40, 4000])
def test_the_covariance_is_shrunk_as_scikit_learn_shrinks_it(count: int) -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(count, 12)) * np.linspace(0.1, 3, 12) + 2).astype(np.float32)
    wanted = LedoitWolf().fit(vectors.astype(float))
    found = find_whitening(vectors)
    np.testing.assert_allclose(found.mean, wanted.location_, atol=1e-6)
    # The axes undo the covariance: A^T C A = 1.
    np.testing.assert_allclose(found.axes.T @ wanted.covariance_ @ found.axes, np.eye(12), atol=1e-4)


def test_many_vectors_become_a_sphere() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(20_000, 5)) @ (np.diag([1, 2, 3, 4, 5]) + 0.5) + 7).astype(np.float32)
    white = find_whitening(vectors)(vectors)
    np.testing.assert_allclose(np.linalg.norm(white, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(5 * white.T @ white / len(white), np.eye(5), atol=0.05)


@pytest.mark.parametrize("count", [1, 3])
def test_vectors_that_do_not_differ_have_no_direction(count: int) -> None:
    vectors = np.ones((count, 4), np.float32)
    assert find_whitening(vectors)(vectors).tolist() == [[0.0] * 4] * count
