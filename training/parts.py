"""The objects that a training run is made of, and the hooks of its job; ``build`` makes them, the loop runs them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from training.comm.protocol import Comm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.metrics import MetricsListener
from training.objectives.objective import Objective
from training.settings import TrainingSettings
from training.strategies.strategy import Strategy


class FeedLike(Protocol):
    """The part of a feed that the loop uses: batches, and equally many of them on every rank."""

    steps_per_epoch: int

    @property
    def bad_rows(self) -> int:
        """Rows in whose place others were shown, by this rank and in the epoch under way."""
        ...

    def shuffle_line(self) -> str | None:
        """A line for people on how well its pictures are shuffled; None = unknown."""
        ...

    def epoch(self, epoch: int, *, start_step: int = 0, has_next_epoch: bool = False) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Parts:
    """The objects of one rank, built and on their device."""

    settings: TrainingSettings
    topology: Topology
    device: torch.device
    feed: FeedLike
    backbone: nn.Module  # normalised images (B, 3, H, W) -> features (B, D)
    objective: Objective  # a batch -> its loss
    strategy: Strategy
    learning_rate: Callable[[int], float]  # batches seen so far -> the rate of the next update
    num_classes: int  # identities to train on

    @property
    def comm(self) -> Comm:
        """All ranks."""
        return self.topology.world


def _show_nothing(done_steps: int, total_steps: int, text: str) -> None:
    pass


def _measure_nothing() -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Hooks:
    """Functions and listeners of the job that the loop calls."""

    progress: Callable[[int, int, str], None] = _show_nothing  # rank 0, each step: done, total, a line on the state
    validate: Callable[[], dict[str, float]] = _measure_nothing  # every rank, each epoch: a row of metrics
    listeners: Sequence[MetricsListener] = ()  # rank 0: they get every row that metrics.jsonl gets
