"""Softmax cross-entropy over classes that the ranks share out (arXiv 2010.05222, section 3.2), by collectives.

Every rank sees the features of all ranks against its own classes, so three numbers per feature travel (the largest
logit, the sum of exponentials, the true logit) and never a row of logits. Each rank gets the mean loss over the batch
of all ranks. Gradients: of the classes, those of that loss, complete without any sum; of the features, ``size`` times
those of that loss, because the strategy takes the mean of the backbone's gradients over the ranks.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.comm.protocol import Comm


def gather_features(features_BD: Tensor, comm: Comm, dtype: torch.dtype) -> Tensor:
    """The features of all ranks (N, D) in rank order; every rank brings equally many."""
    gathered_ND: Tensor = _GatherFeatures.apply(features_BD, comm, dtype)  # type: ignore[no-untyped-call]
    return gathered_ND


def sharded_cross_entropy(logits_NR: Tensor, labels_N: Tensor, comm: Comm) -> Tensor:
    """The mean over N of the cross-entropy over the classes of all ranks, the same scalar on each.

    Args:
        logits_NR: of the features of all ranks against this rank's classes.
        labels_N: column of the true class, or -1 where another rank has it; exactly one rank has it.
    """
    loss: Tensor = _ShardedCrossEntropy.apply(logits_NR, labels_N, comm)  # type: ignore[no-untyped-call]
    return loss


class _GatherFeatures(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features_BD: Tensor, comm: Comm, dtype: torch.dtype) -> Tensor:
        ctx.comm, ctx.dtype = comm, features_BD.dtype
        gathered_ND = comm.allgather(features_BD, name="head.features")
        assert len(gathered_ND) == comm.size * len(features_BD), "every rank must bring equally many features"
        return gathered_ND.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor, None, None]:
        # Summed in the head's precision, and made narrow only afterwards.
        own_BD = ctx.comm.reducescatter(gradient_ND, name="head.feature_gradients")
        return own_BD.mul_(ctx.comm.size).to(ctx.dtype), None, None


class _ShardedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NR: Tensor, labels_N: Tensor, comm: Comm) -> Tensor:
        largest_N = comm.allreduce(logits_NR.max(dim=1).values, op="max", name="head.largest")
        is_here_N1 = (labels_N >= 0).unsqueeze(1)
        index_N1 = labels_N.clamp_min(0).unsqueeze(1)
        true_N1 = torch.where(is_here_N1, logits_NR.gather(1, index_N1), 0)
        share_NR = (logits_NR - largest_N.unsqueeze(1)).exp_()
        parts_2N = torch.stack([share_NR.sum(dim=1), true_N1.squeeze(1)])
        total_N, true_N = comm.allreduce(parts_2N, name="head.total_and_true")
        share_NR.div_(total_N.unsqueeze(1))
        ctx.save_for_backward(share_NR.scatter_add_(1, index_N1, -is_here_N1.to(share_NR.dtype)))
        loss: Tensor = (total_N.log() + largest_N - true_N).mean()
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope_NR,) = ctx.saved_tensors
        return slope_NR * (gradient / len(slope_NR)), None, None
