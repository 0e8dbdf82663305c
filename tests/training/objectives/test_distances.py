"""Distances against those of scipy, one pair at a time."""

import numpy as np
import pytest
import torch
from scipy.spatial import distance as scipy_distance

from training.objectives.distances import DISTANCES, distances

DRAWN = np.random.default_rng(0)
FEATURES_AD = DRAWN.normal(size=(4, 5)) * 3
OTHERS_BD = DRAWN.normal(size=(6, 5))
ORACLES = {
    "cosine": scipy_distance.cosine,
    "squared_euclidean": scipy_distance.sqeuclidean,
    "euclidean": scipy_distance.euclidean,
}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("is_normalised", [False, True])
@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance_is_that_of_scipy(name, is_normalised):
    found = distances(torch.tensor(FEATURES_AD), torch.tensor(OTHERS_BD), name=name, is_normalised=is_normalised)
    rows, others = (unit(FEATURES_AD), unit(OTHERS_BD)) if is_normalised else (FEATURES_AD, OTHERS_BD)
    expected = [[ORACLES[name](row, other) for other in others] for row in rows]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_features_are_at_distance_zero_with_a_finite_gradient(name):
    features = torch.tensor(FEATURES_AD[:1], requires_grad=True)
    found = DISTANCES[name](features, features.detach().clone())
    assert found.item() == pytest.approx(0, abs=1e-5)
    found.sum().backward()
    assert features.grad.isfinite().all()


def test_distances_stay_float32_under_autocast():
    features = torch.tensor(FEATURES_AD, dtype=torch.float32)
    expected = distances(features, features, name="cosine", is_normalised=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distances(features, features, name="cosine", is_normalised=True), expected)
