"""Two streams of pictures that advance together, as F2C takes them (Wang et al. 2022, arXiv 2105.10375, the authors'
dual loader): pictures drawn from all, which are the epoch, and two photos of each of as many identities.

The identities go on where the step before ended, and begin again in another order whenever all have been shown. Where
they are is counted from the first step of the run, so a run can go on at any step. Both streams are one plan with one
reader; a photo that both of them show, or one of them twice, is changed in different ways.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch

from pipelines.settings import UserError
from training.feed.balance import IdentityOrder, read_identities
from training.feed.batch import Batch, DualBatch
from training.feed.feed import CPU, Feed
from training.feed.location import Location
from training.feed.order import IntArray, Load, Order, Step
from training.feed.settings import FeedSettings

_PHOTOS = 2  # of each identity


class DualOrder:
    """The order of both streams. A step has B first photos of identities, B second ones, and B pictures of all."""

    def __init__(self, pictures: Order, identities: IdentityOrder) -> None:
        self.steps_per_epoch = pictures.steps_per_epoch
        self._pictures = pictures
        self._identities = identities

    def epoch(self, epoch: int, *, rank: int, size: int, start_step: int = 0) -> Iterator[Step]:
        """The rank's steps from ``start_step`` on."""
        numbers = count()
        names, pair_names = _Names(numbers), _Names(numbers)
        pairs = self._pairs(epoch * self.steps_per_epoch + start_step, rank=rank, size=size)
        pair_epoch: int | None = None
        for step in self._pictures.epoch(epoch, rank=rank, size=size, start_step=start_step):
            shown_epoch, pair = next(pairs)
            left_open: tuple[int, ...] = ()
            if shown_epoch != pair_epoch:
                left_open = pair_names.close_all()
                pair_epoch, pair_names = shown_epoch, _Names(numbers)
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

    def _pairs(self, begin: int, *, rank: int, size: int) -> Iterator[tuple[int, Step]]:
        """From a step of the run on without an end: which time round it is, and the step."""
        epoch, start_step = divmod(begin, self._identities.steps_per_epoch)
        while True:
            for step in self._identities.epoch(epoch, rank=rank, size=size, start_step=start_step):
                yield epoch, step
            epoch, start_step = epoch + 1, 0


class DualFeed:
    """The batches of one rank, the same for the same seed whatever the threads."""

    def __init__(
        self,
        dataset: Path,
        split: str,
        settings: FeedSettings,
        *,
        seed: int,
        global_batch_size: int,
        rank: int,
        size: int,
        device: torch.device = CPU,
    ) -> None:
        """Read the manifest; no shard is opened yet.

        Args:
            global_batch_size: pictures drawn from all in a step of all ranks, and identities besides.
            device: where the pictures shall be; the labels stay in main memory.

        Raises:
            UserError: as of `Feed`, or identities do not lie whole in row groups.
        """
        if settings.photos_per_identity is not None or not settings.where.is_everything:
            raise UserError(
                "the objective takes pictures of its own choice, of whole identities; drop feed.photos_per_identity "
                "and feed.where"
            )
        self._feed = _Pictures(
            dataset,
            split,
            settings,
            seed=seed,
            global_batch_size=global_batch_size,
            rank=rank,
            size=size,
            device=device,
        )
        self._num_pairs = global_batch_size // size
        self.steps_per_epoch = self._feed.steps_per_epoch

    @property
    def wait_seconds(self) -> float:
        """Seconds that consumers have waited for batches since the feed was built."""
        return self._feed.wait_seconds

    @property
    def bad_rows(self) -> int:
        """That this rank has met in its newest pass."""
        return self._feed.bad_rows

    def shuffle_line(self) -> str:
        """How well the pictures of all are shuffled; for people."""
        return self._feed.shuffle_line()

    def epoch(self, epoch: int, *, start_step: int = 0, has_next_epoch: bool = False) -> Iterator[DualBatch]:
        """The batches of one pass over the split's pictures, from a step on; see `Feed.epoch`."""
        for batch in self._feed.epoch(epoch, start_step=start_step, has_next_epoch=has_next_epoch):
            yield _in_parts(batch, self._num_pairs)


class _Pictures(Feed):
    """The pictures of both streams in one batch."""

    # The pool finds slots by them in main memory; from a GPU they would come back only after the work that is queued.
    _has_labels_on_device = False

    def _plan(self, dataset: Location, split: str, global_batch_size: int) -> DualOrder:
        mixed = self._settings.shuffle_row_groups
        pictures = Order(
            [piece.rows for piece in self._pieces],
            seed=self._seed,
            global_batch_size=global_batch_size,
            shuffle_row_groups=mixed,
        )
        identities = IdentityOrder(
            read_identities(dataset, split),
            num_groups=len(self._pieces),
            seed=_other_seed(self._seed),
            global_batch_size=_PHOTOS * global_batch_size,
            photos=_PHOTOS,
            mixed=mixed,
        )
        return DualOrder(pictures, identities)


class _Names:
    """From the numbers of one order's loads, which count from 0, to those of the loads of both."""

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
    """Others than 0, which is that of the pictures of all, and others each time round."""
    assert pair.variants is not None
    return 1 + _PHOTOS * epoch + pair.variants


def _by_view(rows: IntArray) -> IntArray:
    """First photos, then second ones, of what has the two of an identity side by side."""
    return rows.reshape(-1, _PHOTOS).T.reshape(-1)


def _in_parts(batch: Batch, num_pairs: int) -> DualBatch:
    first, second, instances = batch.images.tensor_split((num_pairs, 2 * num_pairs))
    return DualBatch(
        first=first,
        second=second,
        identities=batch.labels[:num_pairs],
        instances=instances,
        instance_labels=batch.labels[2 * num_pairs :],
    )


def _other_seed(seed: int) -> int:
    """That of the identities: with one seed for both, each step would show those whose pictures it draws from all."""
    return int(np.random.SeedSequence([seed, _PHOTOS]).generate_state(1, np.uint64)[0])
