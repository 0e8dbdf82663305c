"""Settings of the objectives, and what they build."""

import pytest
import torch
from pydantic import ValidationError

from training.objectives.objective import Objective
from training.objectives.settings import ObjectiveSettings


@pytest.mark.parametrize(
    "settings",
    [
        ObjectiveSettings(name="softmax"),
        ObjectiveSettings(name="arcface", margin=0.5, scale=64.0),
        ObjectiveSettings(name="cosface", margin=0.4, scale=64.0),
    ],
)
def test_every_name_builds_an_objective_with_one_centre_per_class(build, settings: ObjectiveSettings) -> None:
    objective = build(settings, num_classes=7, embedding_dim=5)
    assert isinstance(objective, Objective)
    assert [p.shape for p in objective.parameters()] == [(7, 5)]
    assert objective(torch.randn(3, 5), torch.tensor([0, 6, 2])).shape == ()


def test_the_names_build_different_losses(build) -> None:
    features, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    losses = set()
    for name in ("arcface", "cosface"):
        torch.manual_seed(0)
        objective = build(
            ObjectiveSettings.model_validate({"name": name, "margin": 0.3, "scale": 8.0}),
            num_classes=3,
            embedding_dim=5,
        )
        losses.add(round(objective(features, labels).item(), 4))
    assert len(losses) == 2


def test_a_margin_for_the_plain_softmax_is_refused_not_ignored() -> None:
    with pytest.raises(ValidationError, match="has no margin: leave it null"):
        ObjectiveSettings(name="softmax", margin=0.2)


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_a_missing_scale_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="needs a margin and a scale"):
        ObjectiveSettings.model_validate({"name": name, "margin": 0.2})
