"""One process alone: every collective is a copy."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from training.comm.protocol import Comm, Handle, Op, require_mean_of_floats


@dataclass(frozen=True)
class _Done:
    result: Tensor

    def wait(self) -> Tensor:
        return self.result


class LocalComm(Comm):
    """The only rank: of the launch, or of a group of one.

    Args:
        local_rank: in a group of one, the rank's number on its host.
    """

    def __init__(self, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = 0, 1, local_rank

    def allreduce_async(self, tensor: Tensor, *, op: Op, name: str) -> Handle:
        require_mean_of_floats(tensor.dtype, op)
        return _Done(tensor.detach())

    def allgather(self, tensor: Tensor, *, name: str) -> Tensor:
        return tensor.detach().clone()

    def broadcast(self, tensor: Tensor, *, root: int = 0, name: str) -> Tensor:
        assert root == 0
        return tensor.detach().clone()

    def group(self, ranks: Sequence[int]) -> Comm:
        assert list(ranks) == [0], f"there is no group of ranks {list(ranks)}: rank 0 is the only one"
        return self

    def send(self, tensor: Tensor, *, to: int, name: str) -> None:
        raise AssertionError(f"{name!r}: the only rank has no other to send to")

    def recv_any(self, *, sources: Sequence[int] | None = None, name: str) -> tuple[int, Tensor]:
        raise AssertionError(f"{name!r}: the only rank has no other to receive from")

    def close(self) -> None:
        pass
