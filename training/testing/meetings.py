"""The place where ranks that are threads exchange tensors, and where it is noticed that they wait for each other."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from training.comm.peers import Box, Post
from training.comm.protocol import CollectiveError, LostRankError

Result = TypeVar("Result")
Key = tuple[int, str, int]  # the number of a group, the name of a collective, and how often its rank has used that name

# All ranks wait, but a thread that one of them has started may yet send what they wait for.
_PATIENCE_SECONDS = 3.0


@dataclass
class _Meeting:
    """The inputs that the ranks have brought to one collective so far."""

    inputs: dict[int, Tensor] = field(default_factory=dict)
    num_takers: int = 0


@dataclass(frozen=True)
class _Wait:
    """A thread of a rank that waits."""

    rank: int
    name: str
    is_over: Callable[[], bool]


class Meetings:
    """The state that the ranks of one launch share."""

    def __init__(self, size: int, *, in_turn: bool = False) -> None:
        """``in_turn``: only one rank computes at a time, up to its next wait for another."""
        self.size = size
        self._turn = threading.Lock() if in_turn else None
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._meetings: dict[Key, _Meeting] = {}
        self._boxes: dict[tuple[int, Box], deque[tuple[int, Tensor]]] = {}  # by receiver
        self._waiting: dict[threading.Thread, _Wait] = {}
        self._finished: set[int] = set()
        self._threads_before = set(threading.enumerate())
        self._rank_threads: set[threading.Thread] = set()
        self._last_change = time.monotonic()

    def run(self, rank: int, function: Callable[[], Result]) -> Result:
        """Run a rank's program on this thread."""
        with self._changed:
            self._rank_threads.add(threading.current_thread())
        try:
            with self._turn or contextlib.nullcontext():
                return function()
        except BaseException as error:
            with self._changed:
                self._break(error)
            raise
        finally:
            with self._changed:
                self._finished.add(rank)
                self._note_change()
                self._break_if_stuck()

    def bring(self, rank: int, key: Key, tensor: Tensor) -> None:
        with self._changed:
            meeting = self._meetings.setdefault(key, _Meeting())
            # A copy, because the owner may use its memory again before the slowest rank has read it.
            meeting.inputs[rank] = tensor.detach().clone()
            self._note_change()

    def take(self, rank: int, key: Key, ranks: Sequence[int]) -> list[Tensor]:
        """The input of each of ``ranks`` in their order, once all are there."""
        with self._turn_given(), self._changed:
            meeting = self._meetings[key]
            self._wait(_Wait(rank, key[1], lambda: len(meeting.inputs) == len(ranks)))
            meeting.num_takers += 1
            if meeting.num_takers == len(ranks):
                del self._meetings[key]
            return [meeting.inputs[other] for other in ranks]

    def send(self, rank: int, tensor: Tensor, to: int, box: Box) -> None:
        with self._changed:
            self._raise_if_broken(rank, box[1])
            if to in self._finished:
                raise LostRankError("is gone (it has finished)", to)
            copy = tensor.detach().cpu().clone().contiguous()
            self._boxes.setdefault((to, box), deque()).append((rank, copy))
            self._note_change()

    def receive(self, rank: int, sources: Sequence[int], box: Box) -> tuple[int, Tensor]:
        """The oldest message in a box of this rank from any of ``sources``."""
        with self._turn_given(), self._changed:
            queue = self._boxes.setdefault((rank, box), deque())

            def oldest() -> int | None:
                return next((place for place, (sender, _) in enumerate(queue) if sender in sources), None)

            self._wait(_Wait(rank, box[1], lambda: oldest() is not None or bool(self._finished & set(sources))))
            place = oldest()
            if place is None:
                raise LostRankError("is gone (it has finished)", min(self._finished & set(sources)))
            message = queue[place]
            del queue[place]
            return message

    @contextlib.contextmanager
    def _turn_given(self) -> Iterator[None]:
        """Let another rank compute meanwhile."""
        if self._turn is None:
            yield
            return
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()

    def _wait(self, wait: _Wait) -> None:
        thread = threading.current_thread()
        self._waiting[thread] = wait
        self._break_if_stuck()
        while not wait.is_over() and self.failure is None:
            self._changed.wait(_PATIENCE_SECONDS)
            self._break_if_stuck()
        del self._waiting[thread]
        if not wait.is_over():
            self._raise_if_broken(wait.rank, wait.name)

    def _raise_if_broken(self, rank: int, name: str) -> None:
        if self.failure is not None:
            raise CollectiveError(f"rank {rank} was stopped in {name!r}: {self.failure}")

    def _break_if_stuck(self) -> None:
        """Nobody is left who could bring what somebody waits for."""
        busy = self.size - len(self._finished) - len(self._rank_threads & self._waiting.keys())
        if not self._waiting or busy or any(wait.is_over() for wait in self._waiting.values()):
            return
        helpers = set(threading.enumerate()) - self._threads_before - self._rank_threads - self._waiting.keys()
        if helpers and time.monotonic() - self._last_change < _PATIENCE_SECONDS:
            return
        waits = sorted((wait.rank, wait.name) for wait in self._waiting.values())
        places = ", ".join(f"rank {rank} in {name!r}" for rank, name in waits)
        self._break(CollectiveError(f"the ranks wait for each other: {places}, {len(self._finished)} finished"))

    def _break(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._note_change()

    def _note_change(self) -> None:
        self._last_change = time.monotonic()
        self._changed.notify_all()


@dataclass(frozen=True)
class ThreadPost(Post):
    """The carrier of one rank's messages."""

    meetings: Meetings
    rank: int
    host: str = "localhost"

    def send(self, tensor: Tensor, *, to: int, box: Box) -> None:
        self.meetings.send(self.rank, tensor, to, box)

    def receive(self, sources: Sequence[int], box: Box) -> tuple[int, Tensor]:
        return self.meetings.receive(self.rank, sources, box)

    def close(self) -> None:
        pass
