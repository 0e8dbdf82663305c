"""Strategies: how the gradients of all ranks become an update. Read strategy.py (the interface), then allreduce.py."""

from collections.abc import Sequence

import torch
from torch import nn

from training.comm.protocol import Comm
from training.local_update import LocalUpdate
from training.strategies.allreduce import AllReduce
from training.strategies.buckets import GradientBuckets
from training.strategies.settings import StrategySettings
from training.strategies.strategy import Strategy


def build_strategy(
    settings: StrategySettings,
    modules: Sequence[nn.Module],
    optimiser: torch.optim.Optimizer,
    comm: Comm,
    *,
    clip_norm: float | None,
    has_loss_scaling: bool,
    local_updates: Sequence[LocalUpdate] = (),
) -> Strategy:
    """The strategy over the trainable parameters of the modules; a collective, since all ranks start from rank 0.

    Args:
        local_updates: owners of parameters that each rank has for itself; equally many on every rank.
    """
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    buckets = GradientBuckets(
        parameters, comm, bucket_bytes=int(settings.bucket_mib * 2**20), is_halved=settings.wire == "fp16"
    )
    scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=has_loss_scaling)
    return AllReduce(
        modules, optimiser, comm, buckets=buckets, clip_norm=clip_norm, scaler=scaler, local_updates=local_updates
    )
