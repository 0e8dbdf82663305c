"""The features of all ranks on every rank, for losses between pictures: they do not depend on the number of ranks."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.comm.protocol import Comm


def gather_batch(features_BD: Tensor, labels_B: Tensor, comm: Comm) -> tuple[Tensor, Tensor]:
    """Features (N, D), in float32 at least, and labels (N,) of all ranks in rank order.

    For a loss that every rank computes of all of them. Of its gradient each rank keeps the rows of its own features,
    times the number of ranks, because the strategy takes the mean of the backbone's gradients over the ranks.
    """
    dtype = torch.promote_types(features_BD.dtype, torch.float32)
    features_ND: Tensor = _GatherBatch.apply(features_BD.to(dtype), comm)  # type: ignore[no-untyped-call]
    return features_ND, comm.allgather(labels_B, name="batch.labels")


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features_BD: Tensor, comm: Comm) -> Tensor:
        gathered_ND = comm.allgather(features_BD, name="batch.features")
        assert len(gathered_ND) == comm.size * len(features_BD), "every rank must bring equally many features"
        ctx.comm = comm
        return gathered_ND

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor, None]:
        own_BD = gradient_ND.chunk(ctx.comm.size)[ctx.comm.rank]
        return own_BD * ctx.comm.size, None
