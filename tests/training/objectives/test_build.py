"""What the builder of objectives makes of every line of the table."""

import pytest
import torch
from torch import nn

from training.objectives.head_settings import SoftmaxSettings
from training.objectives.objective import Objective
from training.objectives.settings import OBJECTIVES, ClassPoolSettings

SHARDED = SoftmaxSettings.model_validate({"centres": {"kind": "sharded"}})
TERMS = {"a": {"objective": {"name": "softmax"}}}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_line_of_the_table_builds_an_objective_from_its_defaults(build, name):
    settings = OBJECTIVES.validate({"name": name, **({"terms": TERMS} if name == "sum" else {})})
    assert settings.name == name
    objective = build(settings, num_classes=4, embedding_dim=2, backbone=nn.Linear(2, 2))
    assert isinstance(objective, Objective)
    assert objective(torch.randn(3, 2), torch.tensor([0, 0, 1])).shape == ()


@pytest.mark.parametrize("name", ["softmax", "arcface", "cosface", "combined", "adaface"])
def test_a_head_has_one_centre_for_each_class(build, name):
    objective = build(OBJECTIVES.validate({"name": name}), num_classes=7, embedding_dim=5)
    assert [p.shape for p in objective.parameters()] == [(7, 5)]


def test_the_names_build_different_losses(build):
    features, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    losses = set()
    for name in ("arcface", "cosface"):
        torch.manual_seed(0)
        settings = OBJECTIVES.validate({"name": name, "margin": 0.3, "scale": 8.0})
        losses.add(round(build(settings, num_classes=3, embedding_dim=5)(features, labels).item(), 4))
    assert len(losses) == 2


def test_sharded_centres_and_the_gallery_net_are_none_of_the_strategys_parameters(build):
    assert not list(build(SHARDED, num_classes=4, embedding_dim=2).parameters())
    objective = build(ClassPoolSettings(), num_classes=4, embedding_dim=2, backbone=nn.Linear(2, 2))
    assert not [p for p in objective.parameters() if p.requires_grad]
    assert not objective.local_updates
