"""Ranks under torchrun: the collectives of torch.distributed, over NCCL where each rank has a GPU, else over Gloo."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipelines.settings import UserError
from training.comm.protocol import (
    CollectiveError,
    Comm,
    Handle,
    Op,
    as_movable,
    carrier,
    require_mean_of_floats,
)

Result = TypeVar("Result")
_TIMEOUT = timedelta(minutes=10)
_OPS = {"sum": dist.ReduceOp.SUM, "mean": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN}


class TorchComm(Comm):
    """A rank that torchrun has started.

    Raises:
        UserError: torchrun has not.
    """

    def __init__(self) -> None:
        if "LOCAL_RANK" not in os.environ:
            raise UserError(
                "comm=torch finds no LOCAL_RANK; start it with torchrun --nproc-per-node N, or use comm=local"
            )
        self.local_rank = int(os.environ["LOCAL_RANK"])
        # NCCL refuses two ranks on one GPU.
        self._nccl = dist.is_nccl_available() and int(os.environ["LOCAL_WORLD_SIZE"]) <= torch.cuda.device_count()
        self._device = torch.device("cuda", self.local_rank) if self._nccl else torch.device("cpu")
        dist.init_process_group("nccl" if self._nccl else "gloo", timeout=_TIMEOUT)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def allreduce_async(self, tensor: Tensor, *, op: Op, name: str) -> Handle:
        require_mean_of_floats(tensor.dtype, op)
        total = tensor.detach().to(self._device, carrier(tensor.dtype)).contiguous()
        work = self._try(name, lambda: dist.all_reduce(total, _OPS[op], async_op=True))
        return _Pending(self, work, total, like=tensor, name=name, divisor=self.size if op == "mean" else 1)

    def allgather(self, tensor: Tensor, *, name: str) -> Tensor:
        sent = as_movable(tensor).to(self._device)
        lengths = [torch.zeros(1, dtype=torch.int64, device=self._device) for _ in range(self.size)]
        self._try(name, lambda: dist.all_gather(lengths, torch.tensor([len(sent)], device=self._device)))
        longest = max(int(length) for length in lengths)
        # Gloo gathers equal shapes only: short inputs are filled up, and the filling is cut off again.
        padded = torch.cat([sent, sent.new_zeros(longest - len(sent), *sent.shape[1:])])
        received = [torch.empty_like(padded) for _ in range(self.size)]
        self._try(name, lambda: dist.all_gather(received, padded))
        parts = [part[: int(length)] for part, length in zip(received, lengths, strict=True)]
        return torch.cat(parts).view(tensor.dtype).to(tensor.device)

    def reducescatter(self, tensor: Tensor, *, name: str) -> Tensor:
        if not self._nccl:  # Gloo has no reduce-scatter of its own
            return super().reducescatter(tensor, name=name)
        assert len(tensor) % self.size == 0, f"{len(tensor)} rows do not split evenly over {self.size} ranks"
        sent = tensor.detach().to(self._device, carrier(tensor.dtype)).contiguous()
        received = sent.new_empty(len(sent) // self.size, *sent.shape[1:])
        self._try(name, lambda: dist.reduce_scatter_tensor(received, sent))
        return received.to(tensor.device, tensor.dtype)

    def broadcast(self, tensor: Tensor, *, root: int = 0, name: str) -> Tensor:
        received = as_movable(tensor).to(self._device, copy=True)
        self._try(name, lambda: dist.broadcast(received, root))
        return received.view(tensor.dtype).to(tensor.device)

    def close(self) -> None:
        dist.destroy_process_group()

    def finish(self, work: dist.Work, name: str) -> None:
        self._try(name, work.wait)

    def _try(self, name: str, collective: Callable[[], Result]) -> Result:
        try:
            return collective()
        except RuntimeError as error:
            raise CollectiveError(f"{name!r} failed on rank {self.rank} of {self.size}: {error}") from error


@dataclass(frozen=True)
class _Pending:
    comm: TorchComm
    work: dist.Work
    total: Tensor
    like: Tensor  # the caller's tensor: it says what dtype and device the result has
    name: str
    divisor: int

    def wait(self) -> Tensor:
        self.comm.finish(self.work, self.name)
        total = self.total.div_(self.divisor) if self.divisor > 1 else self.total
        return total.to(self.like.device, self.like.dtype)
