"""Class centres: their start, their products, their angles."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from training.objectives.centres import ClassCentres


def test_centres_begin_as_narrow_noise_drawn_from_torchs_seed() -> None:
    torch.manual_seed(3)
    weight = ClassCentres(200, 100).weight_CD.detach()
    torch.manual_seed(3)
    assert torch.equal(weight, ClassCentres(200, 100).weight_CD)
    assert weight.mean().item() == pytest.approx(0, abs=3 * 0.01 / 20_000**0.5)
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_products_and_cosines_are_those_of_numpy_and_scipy() -> None:
    centres = ClassCentres(6, 4)
    features = torch.randn(5, 4)
    weight = centres.weight_CD.detach().numpy()
    np.testing.assert_allclose(centres.products(features).detach(), features.numpy() @ weight.T, atol=1e-6)
    np.testing.assert_allclose(
        centres.cosines(features).detach(), 1 - cdist(features.numpy(), weight, "cosine"), atol=1e-5
    )
