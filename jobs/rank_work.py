"""The common part of the jobs of ranks: a communicator with the place's threads, and the rank's device."""

import contextlib
from collections.abc import Iterator

import torch

from jobs.entry import JobContext
from training.comm.launch import open_comm
from training.comm.protocol import Comm


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
