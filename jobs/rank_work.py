"""The common part of the jobs of ranks: a communicator with the place's threads, and one answer on what is due."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from jobs.entry import JobContext
from pipelines.locks import FolderLock
from pipelines.manifest import is_done
from training.comm.launch import open_comm
from training.comm.protocol import Comm

Result = TypeVar("Result")

# The other ranks wait in a collective meanwhile, and these have time limits.
_TURN_SECONDS = 5.0
_DUE, _DONE, _WAITING = "due", "done", "waiting"


def on_all_ranks(
    context: JobContext, work: Callable[[JobContext, Comm], Result], finish: Callable[[JobContext, Result], None]
) -> None:
    """Join the other ranks and work, unless the artefact is there; rank 0 finishes it when all have left.

    Rank 0 holds the lock of the artefact and says to all whether it is due: ranks that looked by themselves could find
    different answers, and one that left would leave the others waiting.
    """
    with contextlib.ExitStack() as held:
        with communicator(context) as comm:
            if not _is_due(context, comm, held):
                return
            result = work(context, comm)
        if context.rank == 0:
            finish(context, result)


@contextlib.contextmanager
def communicator(context: JobContext) -> Iterator[Comm]:
    """The place's communicator, closed at the end."""
    # Also where a launcher was started by hand: two ranks that each take every core wait for one another.
    torch.set_num_threads(context.settings.place.threads_per_rank)
    comm = open_comm(context.settings.place.comm)
    try:
        yield comm
    finally:
        comm.close()


def _is_due(context: JobContext, comm: Comm, held: contextlib.ExitStack) -> bool:
    """True where the artefact is to be made; rank 0 then holds its lock."""
    lock = FolderLock(context.folder, by=f"run {context.settings.name}")
    held.callback(lock.release)
    is_told = False
    while True:
        answer = comm.broadcast_object(_ask(context, lock) if comm.rank == 0 else None, name="is it due")
        if answer != _WAITING:
            return bool(answer == _DUE)
        if comm.rank == 0 and not is_told:
            context.say_waiting(lock.holder())
            is_told = True


def _ask(context: JobContext, lock: FolderLock) -> str:
    if not lock.take(seconds=_TURN_SECONDS):
        return _WAITING
    return _DONE if is_done(context.folder) else _DUE
