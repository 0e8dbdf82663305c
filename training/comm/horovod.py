"""Ranks under horovodrun: ring allreduce by Horovod, over Gloo or NCCL; the one file that imports it.

Horovod may pack tensors that become ready together into one sum, and so let timing choose the order of additions. Its
packing is switched off here unless the launcher sets it (HOROVOD_FUSION_THRESHOLD): callers pack by themselves.

Groups are those of torch.distributed (see torchrun.py), and not Horovod's process sets. Sets that are made after the
start need HOROVOD_DYNAMIC_PROCESS_SETS=1, with which all ranks ask each other in each cycle of a millisecond whether
there is a new one: on two cores, a small sum took 4.8 instead of 2.1 ms between two ranks and 7.6 instead of 2.1 ms
between four, and a waiting rank used 45 instead of 13 % of a core. And where there is a set of some ranks, the death of
one rank aborts all others (Horovod 0.28.1) before an error can be raised. Messages go over sockets (see sockets.py).
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipelines.requirements import INSTALL
from pipelines.settings import UserError
from training.comm.peers import PeerComm
from training.comm.protocol import Comm, Handle, Op, as_movable, carrier, require_mean_of_floats
from training.comm.sockets import open_post
from training.comm.torchrun import TorchComm, beside, has_gpu_each

Result = TypeVar("Result")

# Between two looks whether a collective is over. Horovod's own wait looks without a pause, and keeps a core from the
# threads that decode and from the host's other ranks: for those that it waits.
_POLL_SECONDS = 1e-4


def join() -> Comm:
    """All ranks that horovodrun has started; this one alone (size 1) where nothing did.

    Raises:
        UserError: Horovod cannot be loaded.
    """
    os.environ.setdefault("HOROVOD_FUSION_THRESHOLD", "0")
    hvd = _load()
    hvd.init()
    comm = HorovodComm(hvd)
    if comm.size > 1:
        comm.post = open_post(comm, meeting_point=os.environ.get("HOROVOD_GLOO_RENDEZVOUS_ADDR"))
    return comm


class HorovodComm(PeerComm):
    """All ranks of a launch.

    Args:
        hvd: the module horovod.torch, initialised.
    """

    def __init__(self, hvd: Any) -> None:
        super().__init__(hvd.rank(), range(hvd.size()), local_rank=hvd.local_rank())
        self._hvd = hvd
        self._torch: TorchComm | None = None

    def make_group(self, members: list[int], number: int) -> Comm | None:
        if self._torch is None:
            has_gpus = self._hvd.nccl_built() and has_gpu_each(self._hvd.local_size())
            self._torch = beside(self, interface=os.environ.get("HOROVOD_GLOO_IFACE"), has_nccl=has_gpus)
        return self._torch.make_group(members, number)

    def allreduce_async(self, tensor: Tensor, *, op: Op, name: str) -> Handle:
        require_mean_of_floats(tensor.dtype, op)
        sent = self._reachable(tensor.detach().to(carrier(tensor.dtype)).contiguous())
        kind = {"sum": self._hvd.Sum, "mean": self._hvd.Sum, "max": self._hvd.Max, "min": self._hvd.Min}[op]
        handle = self._try(name, lambda: self._hvd.allreduce_async_(sent, op=kind, name=name))
        return _Pending(self, handle, like=tensor, name=name, divisor=self.size if op == "mean" else 1)

    def allgather(self, tensor: Tensor, *, name: str) -> Tensor:
        sent = self._reachable(as_movable(tensor))
        received = self._done(name, lambda: self._hvd.allgather_async(sent, name=name))
        return received.view(tensor.dtype).to(tensor.device)

    def reducescatter(self, tensor: Tensor, *, name: str) -> Tensor:
        if not (tensor.is_cuda and self._hvd.nccl_built()):
            # After Horovod's first over Gloo every later sum waits for TCP's delayed acknowledgements, some 40 ms each
            # and several of them.
            return super().reducescatter(tensor, name=name)
        assert len(tensor) % self.size == 0, f"{len(tensor)} rows do not split evenly over {self.size} ranks"
        sent = tensor.detach().to(carrier(tensor.dtype)).contiguous()
        part = self._done(name, lambda: self._hvd.reducescatter_async(sent, op=self._hvd.Sum, name=name))
        return part.to(tensor.device, tensor.dtype)

    def broadcast(self, tensor: Tensor, *, root: int = 0, name: str) -> Tensor:
        sent = self._reachable(as_movable(tensor))
        received = self._done(name, lambda: self._hvd.broadcast_async(sent, root, name=name))
        return received.view(tensor.dtype).to(tensor.device)

    def close(self) -> None:
        if self.size > 1:
            self.post.close()
        if self._torch is not None:
            self._torch.close()
        self._hvd.shutdown()

    def finish(self, handle: int, name: str) -> Tensor:
        """The output of a collective under way."""

        def wait() -> Tensor:
            while not self._hvd.poll(handle):
                time.sleep(_POLL_SECONDS)
            output: Tensor = self._hvd.synchronize(handle)
            return output

        return self._try(name, wait)

    def _done(self, name: str, start: Callable[[], int]) -> Tensor:
        return self.finish(self._try(name, start), name)

    def _reachable(self, tensor: Tensor) -> Tensor:
        """A Horovod that was built without NCCL reads no GPU memory."""
        return tensor if self._hvd.nccl_built() else tensor.cpu()

    def _try(self, name: str, collective: Callable[[], Result]) -> Result:
        try:
            return collective()
        except self._hvd.HorovodInternalError as error:
            raise self.failed(name, error) from error


@dataclass(frozen=True)
class _Pending:
    comm: HorovodComm
    handle: int
    like: Tensor  # the caller's tensor: it says what dtype and device the result has
    name: str
    divisor: int

    def wait(self) -> Tensor:
        total = self.comm.finish(self.handle, self.name)
        return (total.div_(self.divisor) if self.divisor > 1 else total).to(self.like.device, self.like.dtype)


def _load() -> Any:
    """The module horovod.torch, which a torch other than the one it was compiled against cannot load."""
    try:
        import horovod.torch as hvd
    except (ImportError, OSError) as error:
        raise UserError(_why_not(error)) from error
    if not hasattr(hvd, "allreduce_async"):  # Horovod prints why and loads all the same when its library is missing
        raise UserError(_why_not("its torch library is missing"))
    return hvd


def _why_not(error: object) -> str:
    try:
        found = f"Horovod {version('horovod')}"
    except PackageNotFoundError:
        found = "Horovod (not installed)"
    reason = str(error).splitlines()[0]
    return f"{found} does not load under torch {torch.__version__} ({reason}); run `{INSTALL['horovod']}`"
