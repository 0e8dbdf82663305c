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
