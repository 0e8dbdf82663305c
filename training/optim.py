"""The optimiser: which parameters it updates, and which of them decay."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from training.settings import OPTIMISERS, AdamWSettings, OptimiserSettings, SgdSettings

Groups = list[dict[str, Any]]


def build_optimiser(settings: OptimiserSettings, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """An optimiser over the trainable parameters of the modules, at learning rate 0 until ``set_learning_rate``.

    Two groups: matrices and kernels decay; BatchNorm's scales and shifts, biases and PReLU's slopes, which all have
    one dimension or none, do not (arXiv 1706.02677, section 5.3, for BatchNorm).
    """
    trainable = [p for p in nn.ModuleList(modules).parameters() if p.requires_grad]
    groups: Groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    build: Callable[[OptimiserSettings, Groups], torch.optim.Optimizer] = OPTIMISERS.builder(settings)
    return build(settings, groups)


def build_sgd(settings: SgdSettings, groups: Groups) -> torch.optim.Optimizer:
    """SGD; torch keeps the learning rate out of the velocity, so a changing rate needs no momentum correction.

    See arXiv 1706.02677, section 3.
    """
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, nesterov=settings.nesterov)


def build_adamw(settings: AdamWSettings, groups: Groups) -> torch.optim.Optimizer:
    """AdamW."""
    return torch.optim.AdamW(groups, lr=0.0, betas=(settings.momentum, 0.999))


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """The rate of the next step, for every group."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
