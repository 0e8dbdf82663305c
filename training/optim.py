"""The optimiser: which parameters it updates, and which of them decay."""

from collections.abc import Iterable
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from pipelines.settings import Settings


class OptimiserSettings(Settings):
    """The update rule; the learning rate comes from the schedule at every step."""

    name: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # sgd's; the first moment's decay (beta 1) of adamw
    nesterov: bool = False  # sgd only
    weight_decay: float = Field(default=0.0005, ge=0, le=1)  # per step, times the learning rate
    clip_norm: float | None = Field(default=None, gt=0)  # largest L2 norm of the averaged gradient; null = any

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs sgd with a momentum above 0: set nesterov to false, or choose these")
        return self


def build_optimiser(settings: OptimiserSettings, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """An optimiser over the trainable parameters of the modules, at learning rate 0 until ``set_learning_rate``.

    Two groups: matrices and kernels decay; BatchNorm's scales and shifts, biases and PReLU's slopes, which all have
    one dimension or none, do not (arXiv 1706.02677, section 5.3, for BatchNorm).
    """
    trainable = [p for p in nn.ModuleList(modules).parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=(settings.momentum, 0.999))
    # torch keeps the learning rate out of the velocity, so a changing rate needs no momentum correction (ibid., 3).
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, nesterov=settings.nesterov)


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """The rate of the next step, for every group."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
