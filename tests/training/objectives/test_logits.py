"""Logits against scipy's cosines, and the classes that are left out."""

import numpy as np
import torch
from scipy.spatial.distance import cdist

from training.objectives.logits import Logits

FEATURES = np.random.default_rng(0).normal(size=(5, 4))
CENTRES = np.random.default_rng(1).normal(size=(6, 4))
LABELS_B = torch.tensor([0, 5, -1, 2, 2])


def logits_of(**settings):
    seen = []

    def margin(cosine_BC, labels_B, norms_B):
        seen.append(norms_B)
        return 10 * cosine_BC

    logits = Logits(margin, **settings)(torch.tensor(FEATURES), torch.tensor(CENTRES), LABELS_B)
    return logits.numpy(), seen[0].numpy()


def test_a_margin_sees_cosines_and_norms():
    logits, norms = logits_of()
    np.testing.assert_allclose(logits, 10 * (1 - cdist(FEATURES, CENTRES, "cosine")), atol=1e-12)
    np.testing.assert_allclose(norms, np.linalg.norm(FEATURES, axis=1))


def test_without_a_margin_they_are_inner_products():
    logits = Logits(None)(torch.tensor(FEATURES), torch.tensor(CENTRES), LABELS_B)
    np.testing.assert_allclose(logits.numpy(), FEATURES @ CENTRES.T, atol=1e-12)


def test_other_classes_above_the_threshold_are_left_out_and_the_true_one_never_is():
    logits, _ = logits_of(filter_threshold=0.2)
    cosines = 1 - cdist(FEATURES, CENTRES, "cosine")
    for row, label in enumerate(LABELS_B.tolist()):
        for column in range(6):
            is_out = cosines[row, column] > 0.2 and column != label
            expected = -np.inf if is_out else 10 * cosines[row, column]
            np.testing.assert_allclose(logits[row, column], expected)
    assert np.isinf(logits).any()
    assert (cosines[[0, 1, 3, 4], [0, 5, 2, 2]] > 0.2).any()  # a true class that would have gone


def test_a_class_left_out_gets_no_gradient():
    centres = torch.tensor(CENTRES, requires_grad=True)
    features = torch.tensor(CENTRES[:2] + 0.01)
    logits = Logits(lambda c, _labels, _norms: c, filter_threshold=0.9)(features, centres, torch.tensor([0, 0]))
    torch.nn.functional.cross_entropy(logits[1:], torch.tensor([0])).backward()
    assert torch.equal(centres.grad[1], torch.zeros(4, dtype=torch.float64))
    assert torch.isfinite(centres.grad).all()
