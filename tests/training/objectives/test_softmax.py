"""The classification loss against scipy's log-sum-exp and torch's own layers."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from training.objectives.head_settings import ArcFaceSettings, SoftmaxSettings
from training.objectives.settings import OBJECTIVES

FEATURES_BD = torch.tensor(np.random.default_rng(0).normal(size=(6, 5)), dtype=torch.float32)
LABELS_B = torch.tensor([0, 3, 1, 1, 2, 3])


def test_plain_softmax_is_a_linear_layer_and_cross_entropy_with_equal_gradients(build) -> None:
    objective = build(SoftmaxSettings(), num_classes=4, embedding_dim=5)
    linear = nn.Linear(5, 4, bias=False)
    linear.load_state_dict({"weight": objective.state_dict()["centres.weight_CD"]})
    ours, theirs = FEATURES_BD.clone().requires_grad_(), FEATURES_BD.clone().requires_grad_()
    loss = objective(ours, LABELS_B)
    expected = nn.functional.cross_entropy(linear(theirs), LABELS_B)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(next(objective.parameters()).grad, linear.weight.grad)


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_the_margin_loss_is_the_papers_formula(build, name: str) -> None:
    settings = OBJECTIVES.validate({"name": name, "margin": 0.3, "scale": 20.0})
    objective = build(settings, num_classes=4, embedding_dim=5)
    w = next(objective.parameters()).detach().numpy().astype(np.float64)
    x = FEATURES_BD.numpy().astype(np.float64)
    losses = []
    for row, label in zip(x, LABELS_B.tolist(), strict=True):
        cosines = np.array([row @ c / np.linalg.norm(row) / np.linalg.norm(c) for c in w])
        true = np.cos(np.arccos(cosines[label]) + 0.3) if name == "arcface" else cosines[label] - 0.3
        logits = 20 * np.where(np.arange(4) == label, true, cosines)
        losses.append(logsumexp(logits) - logits[label])
    assert objective(FEATURES_BD, LABELS_B).item() == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("name", ["softmax", "arcface"])
def test_logits_stay_float32_under_autocast(build, name: str) -> None:
    extra = {} if name == "softmax" else {"margin": 0.5, "scale": 64.0}
    objective = build(OBJECTIVES.validate({"name": name, **extra}), num_classes=4, embedding_dim=5)
    expected = objective(FEATURES_BD.bfloat16().float(), LABELS_B)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(FEATURES_BD.bfloat16(), LABELS_B)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


def test_a_wider_margin_costs_more(build) -> None:
    losses = []
    for margin in (0.0, 0.2, 0.5):
        torch.manual_seed(0)
        settings = ArcFaceSettings(margin=margin, scale=16.0)
        losses.append(build(settings, num_classes=4, embedding_dim=5)(FEATURES_BD, LABELS_B).item())
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]
