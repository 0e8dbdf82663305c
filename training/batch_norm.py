"""BatchNorm's running statistics, which every rank gathers from its own images, made the same on all ranks."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.comm.protocol import Comm


def average_running_statistics(module: nn.Module, comm: Comm) -> None:
    """Replace running means and variances by their mean over the ranks.

    Called wherever a checkpoint is written, and on every rank: a resumed run then goes on exactly like one that was
    never interrupted. In training mode no output depends on these numbers.
    """
    statistics = _running_statistics(module)
    if not statistics:
        return
    flat = torch.cat([tensor.flatten() for tensor in statistics])
    averaged = comm.allreduce(flat, op="mean", name="batch_norm")
    for tensor, part in zip(statistics, torch.split(averaged, [t.numel() for t in statistics]), strict=True):
        tensor.copy_(part.view_as(tensor))


def _running_statistics(module: nn.Module) -> list[Tensor]:
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    return [tensor for layer in layers for tensor in (layer.running_mean, layer.running_var) if tensor is not None]
