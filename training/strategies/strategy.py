"""The interface of strategies: one update at a time, from as many batches as the strategy uses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from training.feed.batch import Batch
from training.objectives.loss import Loss


class NotFiniteError(Exception):
    """A loss or gradient norm that is infinite or not a number, seen by all ranks alike before any weight changed."""

    def __init__(self, quantity: str, value: float) -> None:
        super().__init__(f"{quantity} is {value}")
        self.quantity = quantity
        self.value = value


@dataclass(frozen=True)
class StepResult:
    """The figures of one update."""

    loss: float  # mean over the batch of all ranks, before the update
    grad_norm: float  # L2 norm of the averaged gradient before clipping; infinite where loss scaling skipped the update
    parts: dict[str, float] = field(default_factory=dict)  # terms of the loss, by name; means as the loss is


class Strategy(Protocol):
    """Turns gradients into updates; every rank has one.

    Attributes:
        is_lock_step: all ranks call ``advance`` equally often and together. Then the loop averages the running
            statistics, sums the bad rows and validates, all of which are collectives; else it makes none between
            updates, and ``finish_epoch`` does what the strategy needs.
    """

    is_lock_step: bool

    def advance(
        self, next_batch: Callable[[], Batch], compute_loss: Callable[[Batch], Loss], learning_rate: float
    ) -> StepResult:
        """Do one update.

        Args:
            next_batch: the next batch of this rank; never runs dry, but the loop ends after the update that has
                pulled the last batch of the last epoch.
            compute_loss: the mean loss over a batch, whose total is ready for ``backward``.

        Raises:
            NotFiniteError: on all ranks alike; the weights are as before.
        """
        ...

    def finish_epoch(self) -> dict[str, float]:
        """Called by each rank at the end of its epoch; returns figures for the log, by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state to resume from, on any number of ranks; tensors, numbers, strings, lists and dicts of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict``; the weights are restored already."""
        ...
