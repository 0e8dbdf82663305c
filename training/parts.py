"""What a training run is made of, and what its job wants to hear; the job builds it, the loop runs it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from training.comm.protocol import Comm
from training.feed.batch import Batch
from training.objectives.objective import Objective
from training.strategies.strategy import Strategy


class FeedLike(Protocol):
    """What the loop asks of a feed: batches, and equally many of them on every rank."""

    steps_per_epoch: int

    @property
    def bad_rows(self) -> int:
        """In whose place others were shown, by this rank and in the epoch under way."""
        ...

    def epoch(self, epoch: int, *, start_step: int = 0, has_next_epoch: bool = False) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Parts:
    """The objects of one rank, built and on their device."""

    feed: FeedLike
    backbone: nn.Module  # normalised images (B, 3, H, W) -> features (B, D)
    objective: Objective  # features (B, D), labels (B,) -> mean loss
    strategy: Strategy
    learning_rate: Callable[[int], float]  # batches seen so far -> the rate of the next update
    comm: Comm


def _show_nothing(done_steps: int, total_steps: int, text: str) -> None:
    pass


def _measure_nothing() -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Hooks:
    """What the job does while the loop runs."""

    progress: Callable[[int, int, str], None] = _show_nothing  # rank 0, each step: done, total, how it goes
    validate: Callable[[], dict[str, float]] = _measure_nothing  # every rank, each epoch: a row of metrics
