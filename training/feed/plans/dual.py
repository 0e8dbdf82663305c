"""The dual plan: two streams of pictures that advance together (Wang et al. 2022, arXiv 2105.10375, the dual loader).

One stream draws pictures from all and makes the epoch; the other gives two photos of each of as many identities. It
goes on where the step before ended, and begins again in another order whenever all identities were shown, also within
a step where there are fewer than it takes. Its position is counted from the first step of the run, so a run can go on
at any step. Both streams are one plan with one reader; a photo that both of them show, or one of them twice, is changed
in different ways.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from pipelines.arrays import IntArray
from training.feed.plans import rows
from training.feed.plans.identities import IdentityOrder, read_identities
from training.feed.plans.plan import Load, Plan, Split, Step
from training.feed.plans.rows import Order

if TYPE_CHECKING:
    from training.feed.batch import Batch

# The extras of its batches: two photos of each of B identities, uint8 (B, 3, H, W), and their labels, int64 (B,).
FIRST = "first"
SECOND = "second"
IDENTITIES = "identities"

_PHOTOS = 2  # of each identity


def build(split: Split) -> "DualOrder":
    """The plan of both streams.

    Raises:
        UserError: the dataset was written without whole identities in row groups.
    """
    identities = IdentityOrder(
        read_identities(split.dataset, split.name),
        num_groups=len(split.group_rows),
        seed=_other_seed(split.seed),
        global_batch_size=_PHOTOS * split.global_batch_size,
        photos=_PHOTOS,
        mixed=split.settings.shuffle_row_groups,
    )
    return DualOrder(rows.build(split), identities)


class DualOrder(Plan):
    """The order of both streams. A step has B first photos of identities, B second ones, and B pictures of all."""

    keeps_labels_on_host = True  # by which objectives of this plan look up entries

    def __init__(self, pictures: Order, identities: IdentityOrder) -> None:
        self.steps_per_epoch = pictures.steps_per_epoch
        self.shortage = pictures.shortage
        self._pictures = pictures
        self._identities = identities

    def epoch(self, epoch: int, *, rank: int, size: int, start_step: int = 0) -> Iterator[Step]:
        """The rank's steps from ``start_step`` on."""
        numbers = count()
        names, pair_names = _LoadNumbers(numbers), _LoadNumbers(numbers)
        pairs = self._pairs(epoch * self.steps_per_epoch + start_step, rank=rank, size=size)
        pair_epoch: int | None = None
        for step in self._pictures.epoch(epoch, rank=rank, size=size, start_step=start_step):
            shown_epoch, pair = next(pairs)
            left_open: tuple[int, ...] = ()
            if shown_epoch != pair_epoch:
                left_open = pair_names.close_all()
                pair_epoch, pair_names = shown_epoch, _LoadNumbers(numbers)
            names.open(step.opens)
            pair_names.open(pair.opens)
            yield Step(
                step.number,
                step.opens + pair.opens,
                np.concatenate([_by_view(pair_names.of(pair.loads)), names.of(step.loads)]),
                np.concatenate([_by_view(pair.rows), step.rows]),
                left_open + names.close(step.closes) + pair_names.close(pair.closes),
                np.concatenate([_by_view(_variants(pair, shown_epoch)), np.zeros_like(step.rows)]),
            )

    def arrange(self, batch: "Batch") -> "Batch":
        """The pictures of all as the batch, the photos of the identities as its extras."""
        pairs = len(batch.labels) // 3
        first, second, pictures = (batch.part(n * pairs, (n + 1) * pairs) for n in range(3))
        views = {FIRST: first.images, SECOND: second.images, IDENTITIES: first.labels}
        return replace(pictures, extras={**pictures.extras, **views}, bad_rows=batch.bad_rows)

    def _pairs(self, begin: int, *, rank: int, size: int) -> Iterator[tuple[int, Step]]:
        """The steps from one of the run on, without an end, each with its number of completed rounds."""
        epoch, start_step = divmod(begin, self._identities.steps_per_epoch)
        while True:
            for step in self._identities.epoch(epoch, rank=rank, size=size, start_step=start_step):
                yield epoch, step
            epoch, start_step = epoch + 1, 0


class _LoadNumbers:
    """The numbers of one order's loads, which count from 0, in the common numbering of both orders."""

    def __init__(self, numbers: "count[int]") -> None:
        self._numbers = numbers
        self._own = count()
        self._name: dict[int, int] = {}

    def open(self, loads: tuple[Load, ...]) -> None:
        self._name.update((next(self._own), next(self._numbers)) for _ in loads)

    def of(self, loads: IntArray) -> IntArray:
        return np.array([self._name[load] for load in loads.tolist()], np.int64)

    def close(self, loads: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self._name.pop(load) for load in loads)

    def close_all(self) -> tuple[int, ...]:
        return self.close(tuple(self._name))


def _variants(pair: Step, epoch: int) -> IntArray:
    """Variants of the photos: never 0, which the pictures of all have, and new ones in each round of all identities."""
    assert pair.variants is not None
    return 1 + _PHOTOS * epoch + pair.variants


def _by_view(rows: IntArray) -> IntArray:
    """First photos, then second ones, from an array that has the two of an identity side by side."""
    return rows.reshape(-1, _PHOTOS).T.reshape(-1)


def _other_seed(seed: int) -> int:
    """The seed of the identities: with one for both, each step would show those whose pictures it draws from all."""
    return int(np.random.SeedSequence([seed, _PHOTOS]).generate_state(1, np.uint64)[0])
