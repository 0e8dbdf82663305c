"""Cosines and their gradients against torch's own way through normalised centres."""

import torch
from scipy.spatial.distance import cdist
from torch.nn import functional

from training.objectives.cosines import cosines


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def test_they_are_those_of_scipy():
    features, centres = drawn(0, 5, 4), drawn(1, 6, 4)
    expected = 1 - cdist(features.detach(), centres.detach(), "cosine")
    torch.testing.assert_close(cosines(features, centres).detach(), torch.from_numpy(expected), rtol=0, atol=1e-14)


def test_gradients_are_those_of_normalised_centres():
    slopes, gradients = drawn(2, 5, 6).detach(), []
    for way in (cosines, lambda x, w: functional.linear(functional.normalize(x), functional.normalize(w))):
        features, centres = drawn(0, 5, 4), drawn(1, 6, 4)
        way(features, centres).backward(slopes)
        gradients.append((features.grad, centres.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_a_centre_of_zeros_gives_zeros_and_nothing_that_is_not_finite():
    features, centres = drawn(0, 5, 4), torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    found = cosines(features, centres)
    found.sum().backward()
    assert not found.any()
    assert torch.isfinite(centres.grad).all()
    assert not features.grad.any()


def test_centres_without_a_gradient_get_none():
    features, centres = drawn(0, 5, 4), drawn(1, 6, 4).detach()
    cosines(features, centres).sum().backward()
    assert features.grad is not None
    assert centres.grad is None
