"""Everything that the builder of a strategy may ask of the run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from training.comm.topology import Topology
from training.local_update import LocalUpdate


@dataclass(frozen=True)
class StrategyContext:
    """The objects that a strategy updates, and the ranks that it talks to."""

    modules: Sequence[nn.Module]  # the backbone and the objective
    optimiser: torch.optim.Optimizer  # over their trainable parameters
    topology: Topology
    clip_norm: float | None = None  # largest L2 norm of the averaged gradient; None = any
    has_loss_scaling: bool = False
    local_updates: Sequence[LocalUpdate] = ()  # owners of rank-local parameters; equally many on every rank

    def parameters(self) -> list[nn.Parameter]:
        """The trainable ones, in the order of the modules."""
        return [parameter for module in self.modules for parameter in module.parameters() if parameter.requires_grad]
