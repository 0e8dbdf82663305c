"""What building an objective takes, for one rank of threads or of a process alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from training.comm.local import LocalComm
from training.comm.protocol import Comm
from training.objectives.base_settings import ObjectiveSettings
from training.objectives.build import build_objective
from training.objectives.context import ObjectiveContext
from training.objectives.objective import Objective
from training.settings import OptimiserSettings, SgdSettings
from training.testing.threads import run_threads

Build = Callable[..., Any]


@pytest.fixture
def build() -> Build:
    def build_one(
        settings: ObjectiveSettings,
        *,
        num_classes: int,
        embedding_dim: int,
        comm: Comm | None = None,
        optimiser: OptimiserSettings = SgdSettings(),  # noqa: B008
        seed: int = 0,
        backbone: nn.Module | None = None,
    ) -> Objective:
        context = ObjectiveContext(
            backbone=backbone or nn.Identity(),
            comm=comm or LocalComm(),
            device=torch.device("cpu"),
            optimiser=optimiser,
            seed=seed,
            num_classes=num_classes,
            embedding_dim=embedding_dim,
        )
        return build_objective(settings, context)

    return build_one


@pytest.fixture
def loss_and_gradient(build: Build) -> Callable[..., tuple[tuple[float, ...], torch.Tensor]]:
    """The loss of each rank, and the gradients of all features as the strategy averages them."""

    def measure(settings: ObjectiveSettings, features: torch.Tensor, labels: torch.Tensor, size: int) -> Any:
        def work(comm: Comm) -> tuple[float, torch.Tensor]:
            share = len(labels) // comm.size
            rows = slice(comm.rank * share, (comm.rank + 1) * share)
            mine = features[rows].clone().requires_grad_()
            loss = build(settings, num_classes=5, embedding_dim=5, comm=comm)(mine, labels[rows])
            loss.backward()
            assert mine.grad is not None
            return loss.item(), mine.grad / comm.size

        losses, gradients = zip(*run_threads(size, work), strict=True)
        return losses, torch.cat(gradients)

    return measure
