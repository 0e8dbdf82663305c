"""The protocol of tasks, and their builder."""

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from training.comm.protocol import Comm
from training.feed.location import Location
from training.tasks.result import Result
from training.tasks.settings import TASKS, SetSettings


class Task(Protocol):
    """A way of judging a model, on one set of pictures."""

    def run(self, model: nn.Module, comm: Comm) -> Result:
        """Judge a model; every rank calls it and gets the result.

        Args:
            model: on its device; it keeps its mode (training or evaluation).

        Raises:
            UserError: the set is missing, wrong or too small, or a picture cannot be decoded.
        """
        ...


@dataclass(frozen=True)
class TaskContext:
    """Facts about the model and the run that a task needs besides the settings of its set."""

    size_px: int  # side of the model's square input
    batch_size: int  # pictures per rank and forward pass
    dataset: Location | None  # None = a model is judged that has no dataset beside it


def build_task(settings: SetSettings, context: TaskContext) -> Task:
    """The task of a set."""
    task: Task = TASKS.builder(settings)(settings, context)
    return task
