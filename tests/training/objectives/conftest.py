"""What building an objective takes, for one rank of threads or of a process alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from training.comm.local import LocalComm
from training.comm.protocol import Comm
from training.objectives.build import ObjectiveContext, build_objective
from training.objectives.objective import Objective
from training.objectives.settings import ObjectiveSettings
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
        optimiser: OptimiserSettings = SgdSettings(clip_norm=None),  # noqa: B008
        seed: int = 0,
        backbone: nn.Module | None = None,
    ) -> Objective:
        around = ObjectiveContext(backbone or nn.Identity(), comm or LocalComm(), torch.device("cpu"), optimiser, seed)
        return build_objective(settings, around, num_classes=num_classes, embedding_dim=embedding_dim)

    return build_one
