"""SGD on chosen rows of a table: rows that were not chosen, and their momentum, keep every bit.

The rule of torch.optim.SGD on each chosen row, as PLSC does it (plsc/optimizer/momentum.py): weight decay and momentum
act when a row is chosen, not at every step.
"""

import torch
from torch import Tensor

from training.optim import OptimiserSettings


@torch.no_grad()
def sparse_sgd(
    weight_RD: Tensor,
    velocity_RD: Tensor,
    index_S: Tensor | None,
    gradient_SD: Tensor,
    *,
    learning_rate: float,
    settings: OptimiserSettings,
) -> None:
    """Update rows of weight and velocity in place.

    Args:
        index_S: the rows that the gradient belongs to, each once; None = all of them in order.
        gradient_SD: overwritten.
    """
    weight_SD = weight_RD if index_S is None else weight_RD[index_S]
    velocity_SD = velocity_RD if index_S is None else velocity_RD[index_S]
    gradient_SD.add_(weight_SD, alpha=settings.weight_decay)
    velocity_SD.mul_(settings.momentum).add_(gradient_SD)
    move_SD = gradient_SD.add_(velocity_SD, alpha=settings.momentum) if settings.nesterov else velocity_SD
    weight_SD.add_(move_SD, alpha=-learning_rate)
    if index_S is not None:
        weight_RD.index_copy_(0, index_S, weight_SD)
        velocity_RD.index_copy_(0, index_S, velocity_SD)
