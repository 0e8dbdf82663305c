"""Ranks under torchrun: the collectives of torch.distributed, over NCCL where each rank has a GPU, else over Gloo.

A group has connections of its own. Messages go over sockets, not torch.distributed (see sockets.py for the reasons).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, and not in torch's __all__

from pipelines.settings import UserError
from training.comm.peers import PeerComm
from training.comm.protocol import (
    Comm,
    Handle,
    Op,
    as_movable,
    carrier,
    require_mean_of_floats,
)
from training.comm.sockets import open_post

Result = TypeVar("Result")
_TIMEOUT = timedelta(minutes=10)
_OPS = {"sum": dist.ReduceOp.SUM, "mean": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN}


def join() -> Comm:
    """All ranks that torchrun has started.

    Raises:
        UserError: it has not started this process.
    """
    if "LOCAL_RANK" not in os.environ:
        raise UserError("comm=torch finds no LOCAL_RANK; start it with torchrun --nproc-per-node N, or use comm=local")
    has_nccl = has_gpu_each(int(os.environ["LOCAL_WORLD_SIZE"]))
    dist.init_process_group("nccl" if has_nccl else "gloo", timeout=_TIMEOUT)
    comm = TorchComm(range(dist.get_world_size()), local_rank=int(os.environ["LOCAL_RANK"]), has_nccl=has_nccl)
    if comm.size > 1:
        comm.post = open_post(comm, meeting_point=os.environ.get("MASTER_ADDR"))
    return comm


def beside(comm: PeerComm, *, interface: str | None, has_nccl: bool) -> "TorchComm":
    """The same ranks, joined by torch.distributed too, for the groups of a transport that has none; a collective.

    Args:
        interface: the network interface of this host by which the others reach it; None leaves the choice to torch.
        has_nccl: whether each rank has a GPU of its own.
    """
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    host = comm.broadcast_object(comm.post.host, name="store.host")
    store = TCPStore(host, 0, is_master=True, wait_for_workers=False) if comm.rank == 0 else None
    port = comm.broadcast_object(store.port if store else None, name="store.port")
    store = store or TCPStore(host, port, is_master=False)
    backend = "nccl" if has_nccl else "gloo"
    dist.init_process_group(backend, store=store, rank=comm.rank, world_size=comm.size, timeout=_TIMEOUT)
    joined = TorchComm(comm.ranks, local_rank=comm.local_rank, has_nccl=has_nccl)
    joined.post = comm.post
    return joined


def has_gpu_each(ranks_on_host: int) -> bool:
    """True if each rank has a GPU of its own: NCCL refuses two ranks on one."""
    return dist.is_nccl_available() and ranks_on_host <= torch.cuda.device_count()


class TorchComm(PeerComm):
    """Some of the ranks of torch.distributed.

    Args:
        ranks: the communicator's ranks in the launch.
        local_rank: this process's number on its host.
        has_nccl: whether each rank of the launch has a GPU of its own.
        group: torch's handle of these ranks; None stands for all.
        number: 0 for all ranks, else that of the group.
    """

    def __init__(
        self,
        ranks: Sequence[int],
        *,
        local_rank: int,
        has_nccl: bool,
        group: dist.ProcessGroup | None = None,
        number: int = 0,
    ) -> None:
        super().__init__(dist.get_rank(), ranks, local_rank=local_rank, number=number)
        self._group, self._nccl = group, has_nccl
        self._device = torch.device("cuda", self.local_rank) if has_nccl else torch.device("cpu")

    def make_group(self, members: list[int], number: int) -> Comm | None:
        handle = self._try("group", lambda: dist.new_group(members, timeout=_TIMEOUT))
        if self.rank not in members:
            return None
        group = TorchComm(members, local_rank=self.local_rank, has_nccl=self._nccl, group=handle, number=number)
        group.post = self.post
        return group

    def allreduce_async(self, tensor: Tensor, *, op: Op, name: str) -> Handle:
        require_mean_of_floats(tensor.dtype, op)
        total = tensor.detach().to(self._device, carrier(tensor.dtype)).contiguous()
        work = self._try(name, lambda: dist.all_reduce(total, _OPS[op], self._group, async_op=True))
        return _Pending(self, work, total, like=tensor, name=name, divisor=self.size if op == "mean" else 1)

    def allgather(self, tensor: Tensor, *, name: str) -> Tensor:
        sent = as_movable(tensor).to(self._device)
        lengths = [torch.zeros(1, dtype=torch.int64, device=self._device) for _ in range(self.size)]
        length = torch.tensor([len(sent)], device=self._device)
        self._try(name, lambda: dist.all_gather(lengths, length, self._group))
        longest = max(int(other) for other in lengths)
        # Gloo gathers equal shapes only: short inputs are filled up, and the filling is cut off again.
        padded = torch.cat([sent, sent.new_zeros(longest - len(sent), *sent.shape[1:])])
        received = [torch.empty_like(padded) for _ in range(self.size)]
        self._try(name, lambda: dist.all_gather(received, padded, self._group))
        parts = [part[: int(own)] for part, own in zip(received, lengths, strict=True)]
        return torch.cat(parts).view(tensor.dtype).to(tensor.device)

    def reducescatter(self, tensor: Tensor, *, name: str) -> Tensor:
        if not self._nccl:  # Gloo has no reduce-scatter of its own
            return super().reducescatter(tensor, name=name)
        assert len(tensor) % self.size == 0, f"{len(tensor)} rows do not split evenly over {self.size} ranks"
        sent = tensor.detach().to(self._device, carrier(tensor.dtype)).contiguous()
        received = sent.new_empty(len(sent) // self.size, *sent.shape[1:])
        self._try(name, lambda: dist.reduce_scatter_tensor(received, sent, group=self._group))
        return received.to(tensor.device, tensor.dtype)

    def broadcast(self, tensor: Tensor, *, root: int = 0, name: str) -> Tensor:
        received = as_movable(tensor).to(self._device, copy=True)
        self._try(name, lambda: dist.broadcast(received, self.ranks[root], self._group))
        return received.view(tensor.dtype).to(tensor.device)

    def close(self) -> None:
        if self.number == 0:
            if self.size > 1:
                self.post.close()  # which may be done twice
            dist.destroy_process_group()

    def finish(self, work: dist.Work, name: str) -> None:
        self._try(name, work.wait)

    def _try(self, name: str, collective: Callable[[], Result]) -> Result:
        try:
            return collective()
        except RuntimeError as error:
            raise self.failed(name, error) from error


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
