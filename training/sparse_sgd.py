"""SGD on chosen rows of a table: rows that were not chosen, and their momentum, keep every bit.

The rule of torch.optim.SGD on each chosen row, as PLSC does it (plsc/optimizer/momentum.py): weight decay and momentum
act when a row is chosen, not at every step.
"""

import torch
from torch import Tensor

from training.settings import SgdSettings

# What is copied out of the tables to be updated, at a time: few enough rows for a processor's cache, and next to
# nothing beside the gradient.
_ROWS_AT_ONCE = 4096


@torch.no_grad()
def sparse_sgd(
    weight_RD: Tensor,
    velocity_RD: Tensor,
    index_S: Tensor | None,
    gradient_SD: Tensor,
    *,
    learning_rate: float,
    settings: SgdSettings,
) -> None:
    """Update rows of weight and velocity in place.

    Args:
        index_S: the rows that the gradient belongs to, each once; None = all of them in order.
        gradient_SD: overwritten.
    """
    for low in range(0, len(gradient_SD), _ROWS_AT_ONCE):
        part = slice(low, low + _ROWS_AT_ONCE)
        gradient_PD = gradient_SD[part]
        rows = None if index_S is None else index_S[part]
        weight_PD = weight_RD[part] if rows is None else weight_RD.index_select(0, rows)
        velocity_PD = velocity_RD[part] if rows is None else velocity_RD.index_select(0, rows)
        gradient_PD.add_(weight_PD, alpha=settings.weight_decay)
        velocity_PD.mul_(settings.momentum).add_(gradient_PD)
        move_PD = gradient_PD.add_(velocity_PD, alpha=settings.momentum) if settings.nesterov else velocity_PD
        weight_PD.add_(move_PD, alpha=-learning_rate)
        if rows is not None:
            weight_RD.index_copy_(0, rows, weight_PD)
            velocity_RD.index_copy_(0, rows, velocity_PD)
