"""Ranks as threads of one process: distributed code tested in milliseconds, with failures that never hang.

All threads share torch's random generator, so a net that draws numbers (dropout) is reproducible in turn only.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from training.comm.peers import PeerComm
from training.comm.protocol import Comm, Handle, Op, carrier, require_mean_of_floats
from training.testing.meetings import Key, Meetings, ThreadPost

Result = TypeVar("Result")


def run_threads(size: int, function: Callable[[Comm], Result], *, in_turn: bool = False) -> list[Result]:
    """Run ``function(comm)`` on ``size`` ranks and return the results in rank order.

    Args:
        in_turn: only one rank computes at a time, up to its next collective: each may seed torch's random generator,
            which all share, and then draw.

    Raises:
        Whatever the first rank to fail raised; the others are stopped at their next collective or message.
    """
    meetings = Meetings(size, in_turn=in_turn)
    with ThreadPoolExecutor(size) as pool:
        ranks = [ThreadComm(meetings, rank, range(size)) for rank in range(size)]
        futures = [pool.submit(meetings.run, comm.rank, lambda comm=comm: function(comm)) for comm in ranks]
    failure, meetings.failure = meetings.failure, None
    if failure is not None:
        # Not held by the meetings, which communicators hold: else all that its frames hold would stay as long as they.
        raise failure
    return [future.result() for future in futures]


@dataclass(frozen=True)
class _Pending:
    comm: "ThreadComm"
    key: Key
    combine: Callable[[list[Tensor]], Tensor]

    def wait(self) -> Tensor:
        return self.combine(self.comm.meetings.take(self.comm.me, self.key, self.comm.ranks))


class ThreadComm(PeerComm):
    """One of the threads; sums run in rank order, so that results are exact to the bit."""

    def __init__(self, meetings: Meetings, me: int, ranks: Sequence[int], *, number: int = 0) -> None:
        super().__init__(me, ranks, local_rank=me, number=number)
        self.meetings, self.me = meetings, me
        self.post = ThreadPost(meetings, me)
        self._uses: Counter[str] = Counter()

    def make_group(self, members: list[int], number: int) -> Comm | None:
        if self.rank not in members:
            return None
        return ThreadComm(self.meetings, self.me, members, number=number)

    def allreduce_async(self, tensor: Tensor, *, op: Op, name: str) -> Handle:
        require_mean_of_floats(tensor.dtype, op)
        return self._meet(tensor, name, lambda inputs: _reduce(inputs, op))

    def allgather(self, tensor: Tensor, *, name: str) -> Tensor:
        return self._meet(tensor, name, torch.cat).wait()

    def broadcast(self, tensor: Tensor, *, root: int = 0, name: str) -> Tensor:
        return self._meet(tensor, name, lambda inputs: inputs[root].clone()).wait()

    def close(self) -> None:
        pass

    def _meet(self, tensor: Tensor, name: str, combine: Callable[[list[Tensor]], Tensor]) -> _Pending:
        key = (self.number, name, self._uses[name])
        self._uses[name] += 1
        self.meetings.bring(self.me, key, tensor)
        return _Pending(self, key, combine)


def _reduce(inputs: list[Tensor], op: Op) -> Tensor:
    dtype = inputs[0].dtype
    total = inputs[0].to(carrier(dtype), copy=True)
    for other in inputs[1:]:
        if op in ("sum", "mean"):
            total += other.to(total.dtype)
        elif op == "max":
            torch.maximum(total, other.to(total.dtype), out=total)
        else:
            torch.minimum(total, other.to(total.dtype), out=total)
    return (total / len(inputs) if op == "mean" else total).to(dtype)
