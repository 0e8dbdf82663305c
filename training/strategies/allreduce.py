"""Synchronous SGD: every rank sees its part of the batch, the gradients are averaged, all take the same step.

Goyal et al. 2017 (arXiv 1706.02677): with n images on each of k ranks, the mean over ranks of the mean over n images is
the gradient of the mean loss over kn images, so that the result does not depend on how many ranks share a batch. On a
ring each rank sends 2 (k - 1) / k times the size of the gradient. Not as there: BatchNorm's statistics are averaged
over the ranks when a checkpoint is written.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.comm.protocol import Comm
from training.feed.batch import Batch
from training.objectives.loss import Loss
from training.optim import set_learning_rate
from training.strategies.buckets import GradientBuckets
from training.strategies.context import StrategyContext
from training.strategies.settings import AllReduceSettings
from training.strategies.strategy import NotFiniteError, StepResult, Strategy


class AllReduce(Strategy):
    """One batch per update; the weights are the same on all ranks, to the bit, at every step."""

    is_lock_step = True

    def __init__(self, settings: AllReduceSettings, context: StrategyContext) -> None:
        """Make the weights of rank 0 those of all ranks."""
        self._optimiser = context.optimiser
        self._comm = context.topology.data_parallel
        parameters = context.parameters()
        self._buckets = GradientBuckets(
            parameters, self._comm, bucket_bytes=int(settings.bucket_mib * 2**20), is_halved=settings.wire == "fp16"
        )
        self._clip_norm = context.clip_norm
        self._scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=context.has_loss_scaling)
        self._local_updates = context.local_updates
        broadcast_weights(context.modules, self._comm)

    def advance(
        self, next_batch: Callable[[], Batch], compute_loss: Callable[[Batch], Loss], learning_rate: float
    ) -> StepResult:
        self._buckets.reset()
        loss = compute_loss(next_batch())
        mean_loss = self._comm.allreduce_async(_flat(loss), op="mean", name="loss")
        self._scaler.scale(loss.total).backward()  # type: ignore[no-untyped-call]
        self._buckets.finish()
        loss_of_all, *parts_of_all = mean_loss.wait().tolist()
        if not math.isfinite(loss_of_all):
            self._discard()
            raise NotFiniteError("loss", loss_of_all)
        local_norm = self._local_norm()
        if not math.isfinite(local_norm):
            self._poison_gradients()
        # The gradients are the same on all ranks by now: all find an overflow, or none does.
        scale = self._scaler.get_scale()
        self._scaler.unscale_(self._optimiser)
        grad_norm, factor = self._clip(local_norm / scale)
        if not math.isfinite(grad_norm) and not self._scaler.is_enabled():
            self._discard()
            raise NotFiniteError("gradient norm", grad_norm)
        set_learning_rate(self._optimiser, learning_rate)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if math.isfinite(grad_norm):
            for local in self._local_updates:
                local.step(learning_rate, factor / scale)
        self._discard()
        parts = dict(zip(loss.parts, parts_of_all, strict=True))
        return StepResult(loss=loss_of_all, grad_norm=grad_norm, parts=parts)

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self._optimiser.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimiser.load_state_dict(state["optimiser"])
        if self._scaler.is_enabled() and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])

    def _clip(self, local_norm: float) -> tuple[float, float]:
        """Scale the gradients down to the largest norm allowed; the norm before, and the factor for local ones."""
        parameters = self._parameters()
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self._local_updates:
            norm = torch.hypot(norm, torch.full_like(norm, local_norm))
        if self._clip_norm is None:
            return norm.item(), 1.0
        nn.utils.clip_grads_with_norm_(parameters, self._clip_norm, norm)
        return norm.item(), min(1.0, self._clip_norm / (norm.item() + 1e-6))  # the factor that torch takes

    def _local_norm(self) -> float:
        """The norm of what the ranks hold for themselves, over all of them; infinite or nan where one rank's is."""
        if not self._local_updates:
            return 0.0
        squares = torch.stack([local.squared_norm().cpu() for local in self._local_updates])
        return math.sqrt(self._comm.allreduce(squares.sum(), name="local_norm").item())

    def _poison_gradients(self) -> None:
        """Let the scaler find what it cannot see: an overflow in a gradient that is none of the optimiser's."""
        for parameter in self._parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(math.inf)

    def _discard(self) -> None:
        for local in self._local_updates:
            local.discard()

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimiser.param_groups for parameter in group["params"]]


def build(settings: AllReduceSettings, context: StrategyContext) -> AllReduce:
    return AllReduce(settings, context)


def _flat(loss: Loss) -> Tensor:
    """The total and the parts (1 + P,), to travel together."""
    return torch.stack([value.detach().to(torch.float64) for value in (loss.total, *loss.parts.values())])


def broadcast_weights(modules: Sequence[nn.Module], comm: Comm) -> None:
    """Parameters and buffers become those of rank 0."""
    with torch.no_grad():
        for index, module in enumerate(modules):
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                tensor.copy_(comm.broadcast(tensor, name=f"weights.{index}.{name}"))
