"""A plan and its steps: the row groups that a rank opens, the rows that its batches show, the row groups it closes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.arrays import IntArray
from training.feed.settings import FeedSettings

if TYPE_CHECKING:
    from training.feed.batch import Batch
    from training.feed.location import Location


@dataclass(frozen=True)
class Load:
    """A part of one row group that is read at once: rows ``first`` to ``first + rows``."""

    group: int
    first: int
    rows: int


@dataclass(frozen=True)
class Step:
    """One batch of one rank. Loads are numbered from 0 in the order in which the steps open them."""

    number: int
    opens: tuple[Load, ...]  # needed from this step on
    loads: IntArray  # for each row of the batch, the load that holds it
    rows: IntArray  # and its place in that load
    closes: tuple[int, ...]  # loads not needed after this step
    variants: IntArray | None = None  # for each row, which of a picture's random changes it gets; None = 0 for all


class Plan(ABC):
    """The order of all epochs of one split."""

    steps_per_epoch: int
    # The reason that no batch can be filled without showing rows several times; None = there are enough.
    shortage: str | None = None
    # A GPU's labels come back to the host only after the work that is queued on it.
    keeps_labels_on_host = False

    @abstractmethod
    def epoch(self, epoch: int, *, rank: int, size: int, start_step: int = 0) -> Iterator[Step]:
        """The rank's steps from ``start_step`` on."""

    def arrange(self, batch: "Batch") -> "Batch":
        """The batch in the form that the objective takes: a plan of several streams turns some into extras."""
        return batch


@dataclass(frozen=True)
class Split:
    """A split of a dataset and the settings by which it is fed: all that a plan is made from."""

    dataset: "Location"
    name: str  # train, val or test
    group_rows: Sequence[int]  # of each row group, as far as feed.where chooses them
    settings: FeedSettings
    seed: int
    global_batch_size: int
