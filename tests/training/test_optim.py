"""The optimiser against update rules written out, and its parameter groups against the layers they come from."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from training.models.backbones import build_backbone
from training.models.settings import ModelSettings
from training.objectives.centres import ClassCentres
from training.objectives.logits import Logits
from training.objectives.softmax import Softmax
from training.optim import build_optimiser, set_learning_rate
from training.settings import OPTIMISERS, AdamWSettings, SgdSettings


def test_only_kernels_and_matrices_decay_and_nothing_is_left_out() -> None:
    model = build_backbone(ModelSettings(name="iresnet10", input_size_px=32, width=0.125, embedding_dim=8))
    objective = Softmax(ClassCentres(3, 8), Logits(None))
    decaying, others = build_optimiser(SgdSettings(weight_decay=0.1, clip_norm=None), [model, objective]).param_groups
    weighing = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    expected = {id(m.weight) for m in weighing} | {id(objective.centres.weight_CD)}
    assert {id(p) for p in decaying["params"]} == expected
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    trainable = {id(p) for module in (model, objective) for p in module.parameters() if p.requires_grad}
    assert {id(p) for p in others["params"]} == trainable - expected


def test_a_parameter_that_two_modules_share_is_updated_once() -> None:
    shared = nn.Linear(3, 3, bias=False)
    groups = build_optimiser(SgdSettings(clip_norm=None), [nn.Sequential(shared), nn.Sequential(shared)]).param_groups
    assert len(groups[0]["params"]) == 1


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_the_momentum_rule_under_a_changing_rate(nesterov: bool) -> None:
    layer = nn.Linear(4, 2, bias=False)
    weight = layer.weight.detach().numpy().astype(np.float64)
    velocity = np.zeros_like(weight)
    optimiser = build_optimiser(
        SgdSettings(momentum=0.9, nesterov=nesterov, weight_decay=0.01, clip_norm=None), [layer]
    )
    for rate, gradient in zip((0.1, 0.4, 0.05), np.random.default_rng(0).normal(size=(3, 2, 4)), strict=True):
        layer.weight.grad = torch.tensor(gradient, dtype=torch.float32)
        set_learning_rate(optimiser, rate)
        optimiser.step()
        decayed = gradient + 0.01 * weight
        velocity = 0.9 * velocity + decayed
        weight = weight - rate * (decayed + 0.9 * velocity if nesterov else velocity)
    np.testing.assert_allclose(layer.weight.detach(), weight, atol=1e-6)


def test_the_first_step_of_adamw_is_the_sign_of_the_gradient_after_the_decay() -> None:
    layer = nn.Linear(4, 2, bias=False)
    before = layer.weight.detach().clone()
    optimiser = build_optimiser(AdamWSettings(weight_decay=0.1), [layer])
    layer.weight.grad = torch.randn(2, 4)
    set_learning_rate(optimiser, 0.01)
    optimiser.step()
    torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.01 * 0.1) - 0.01 * layer.weight.grad.sign())


def test_the_rate_is_zero_until_it_is_set() -> None:
    layer = nn.Linear(4, 2)
    before = layer.weight.detach().clone()
    optimiser = build_optimiser(SgdSettings(clip_norm=None), [layer])
    layer(torch.randn(3, 4)).sum().backward()
    optimiser.step()
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "adamw", "nesterov": True}, "belongs to sgd, and name is adamw"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov needs a momentum above 0"),
    ],
)
def test_nesterov_without_momentum_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OPTIMISERS.validate(wrong)
