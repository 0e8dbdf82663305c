"""Ranks as threads of one process: distributed code tested in milliseconds, with failures that never hang.

All threads share torch's random generator, so a net that draws numbers (dropout) is not reproducible here.
"""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from training.comm.protocol import CollectiveError, Comm, Handle, Op, carrier, require_mean_of_floats

Result = TypeVar("Result")
_Key = tuple[str, int]  # the name of a collective and how often its rank has used that name


def run_threads(size: int, function: Callable[[Comm], Result]) -> list[Result]:
    """Run ``function(comm)`` on ``size`` ranks and return the results in rank order.

    Raises:
        Whatever the first rank to fail raised; the others are stopped at their next collective.
    """
    group = _Group(size)
    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(group.run, ThreadComm(group, rank), function) for rank in range(size)]
    if group.failure is not None:
        raise group.failure
    return [future.result() for future in futures]


@dataclass
class _Meeting:
    """The inputs that the ranks have brought to one collective so far."""

    inputs: dict[int, Tensor] = field(default_factory=dict)
    num_takers: int = 0


class _Group:
    """Where the ranks meet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._meetings: dict[_Key, _Meeting] = {}
        self._waiting: dict[int, _Key] = {}
        self._num_finished = 0

    def run(self, comm: "ThreadComm", function: Callable[[Comm], Result]) -> Result:
        try:
            return function(comm)
        except BaseException as error:
            with self._changed:
                self._break(error)
            raise
        finally:
            with self._changed:
                self._num_finished += 1
                self._break_if_stuck()

    def bring(self, rank: int, key: _Key, tensor: Tensor) -> None:
        with self._changed:
            meeting = self._meetings.setdefault(key, _Meeting())
            # A copy, because the owner may use its memory again before the slowest rank has read it.
            meeting.inputs[rank] = tensor.detach().clone()
            self._changed.notify_all()

    def take(self, rank: int, key: _Key) -> list[Tensor]:
        """Every rank's input in rank order, once all are there."""
        with self._changed:
            self._waiting[rank] = key
            self._break_if_stuck()
            meeting = self._meetings[key]
            self._changed.wait_for(lambda: len(meeting.inputs) == self.size or self.failure is not None)
            del self._waiting[rank]
            if len(meeting.inputs) < self.size:
                raise CollectiveError(f"rank {rank} was stopped in {key[0]!r}: {self.failure}")
            meeting.num_takers += 1
            if meeting.num_takers == self.size:
                del self._meetings[key]
            return [meeting.inputs[other] for other in range(self.size)]

    def _break_if_stuck(self) -> None:
        """Nobody is left who could complete a meeting that somebody waits for."""
        if not self._waiting or len(self._waiting) + self._num_finished < self.size:
            return
        if any(len(self._meetings[key].inputs) == self.size for key in self._waiting.values()):
            return
        places = ", ".join(f"rank {rank} in {key[0]!r}" for rank, key in sorted(self._waiting.items()))
        self._break(CollectiveError(f"the ranks wait for each other: {places}, {self._num_finished} finished"))

    def _break(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._changed.notify_all()


@dataclass(frozen=True)
class _Pending:
    comm: "ThreadComm"
    key: _Key
    combine: Callable[[list[Tensor]], Tensor]

    def wait(self) -> Tensor:
        return self.combine(self.comm.group.take(self.comm.rank, self.key))


class ThreadComm(Comm):
    """One of the threads; sums run in rank order, so that results are exact to the bit."""

    def __init__(self, group: _Group, rank: int) -> None:
        self.rank, self.size, self.local_rank = rank, group.size, rank
        self.group = group
        self._uses: Counter[str] = Counter()

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
        key = (name, self._uses[name])
        self._uses[name] += 1
        self.group.bring(self.rank, key, tensor)
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
