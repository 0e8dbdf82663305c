"""The feed of one rank: from a dataset's shards to the batches of its steps.

Row groups are read ahead in plan order, pictures are decoded by a few threads straight into the block of their batch,
and finished batches wait in a short queue. Memory: the encoded row groups that the plan keeps open (see
``shuffle_row_groups``) and ``prefetch_batches + 3`` decoded batches.
"""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipelines.settings import UserError
from training.feed.augment import Augment
from training.feed.bad_rows import BadRows
from training.feed.balance import IdentityOrder, read_identities
from training.feed.batch import Batch, Blocks, Decoders, batches
from training.feed.cache import CachedRowGroups
from training.feed.device import on_device, take_over
from training.feed.in_memory import KeptPictures, KeptRowGroups, check_room
from training.feed.location import Location, dataset_location
from training.feed.order import Order, Plan, Step, sweep
from training.feed.paint import Painter
from training.feed.prefetch import Prefetch
from training.feed.quality import shuffle_quality
from training.feed.settings import FeedSettings
from training.feed.shards import Piece, Source, keep_pages, read_row_group, row_groups
from training.feed.where import ChosenRows, chosen_pieces

if TYPE_CHECKING:
    from training.feed.reader import Reader

CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Pass:
    """One pass over the split, which has begun."""

    ahead: Prefetch[Batch]
    all_asked_for: threading.Event  # the reader has been told of the last row group


class Feed:
    """The batches of one rank, the same for the same seed whatever the threads."""

    _has_labels_on_device = True

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
            device: where the batches shall be.

        Raises:
            UserError: the dataset or the split is not there, or the ranks cannot share the batch evenly.
        """
        photos = settings.photos_per_identity or 1
        if global_batch_size % (size * photos):
            what = f"{size} ranks" + (f" with {photos} photos of each identity" if photos > 1 else "")
            raise UserError(f"global_batch_size is {global_batch_size}, which {what} cannot share; take a multiple")
        self._settings = settings
        self._seed = seed
        self._rank = rank
        self._size = size
        self._device = device
        self._batch_size = global_batch_size // size
        location = dataset_location(settings, dataset)
        self._pieces = chosen_pieces(row_groups(location, split), settings.where)
        self._order = self._plan(location, split, global_batch_size)
        self._source, self._pictures = self._open_source()
        self._decoders = Decoders(settings.threads)
        self._blocks = Blocks(settings.decode.size_px, is_pinned=device.type == "cuda")
        self._begun: tuple[int, _Pass] | None = None  # the pass that will follow, by its epoch
        keep_pages()
        self.steps_per_epoch = self._order.steps_per_epoch
        self.wait_seconds = 0.0  # that consumers have waited for batches since the feed was built
        self.bad_rows = 0  # that this rank has met in its newest pass

    def _plan(self, dataset: Location, split: str, global_batch_size: int) -> Plan:
        photos = self._settings.photos_per_identity
        if photos is not None:
            return IdentityOrder(
                read_identities(dataset, split),
                num_groups=len(self._pieces),
                seed=self._seed,
                global_batch_size=global_batch_size,
                photos=photos,
                mixed=self._settings.shuffle_row_groups,
            )
        return Order(
            [piece.rows for piece in self._pieces],
            seed=self._seed,
            global_batch_size=global_batch_size,
            shuffle_row_groups=self._settings.shuffle_row_groups,
        )

    def _open_source(self) -> tuple[Source, KeptPictures | None]:
        """Whence row groups are read, and where decoded pictures stay."""
        settings, size_px = self._settings, self._settings.decode.size_px
        source: Source = read_row_group
        if settings.cache_dir is not None:
            source = CachedRowGroups(source, settings.cache_dir, max_bytes=settings.cache_bytes)
        if not settings.where.is_everything:
            source = ChosenRows(source, settings.where)
        if settings.keep == "none":
            return source, None
        check_room(self._pieces, keep=settings.keep, keep_bytes=settings.keep_bytes, size_px=size_px)
        pictures = KeptPictures(self._pieces, size_px=size_px) if settings.keep == "decoded" else None
        return KeptRowGroups(source), pictures

    def shuffle_line(self) -> str:
        """How well the settings shuffle, beside less and more memory; for people."""
        number = self._settings.shuffle_row_groups
        found = shuffle_quality(
            [piece.rows for piece in self._pieces],
            sorted({number, max(1, number // 4), number * 4}),
            seed=self._seed,
            global_batch_size=self._batch_size * self._size,
        )
        ratio = found.pop(number)
        others = ", ".join(f"{other}: {times:.1f}" for other, times in found.items())
        return (
            f"with feed.shuffle_row_groups={number}, rows of one row group meet in a batch {ratio:.1f} times as often "
            f"as in a true permutation ({others})"
        )

    def epoch(self, epoch: int, *, start_step: int = 0, has_next_epoch: bool = False) -> Iterator[Batch]:
        """The batches of one pass over the split, shuffled and augmented, from a step on.

        Args:
            has_next_epoch: the next epoch will be asked for. It is begun when the last row group of this one has been
                asked for,
                since its first step opens a row group of every stream; the two then share the memory for a while.
        """
        begun, self._begun = self._begun, None
        if begun is not None and start_step == 0 and begun[0] == epoch:
            yield from self._batches(begun[1], next_epoch=epoch + 1 if has_next_epoch else None)
            return
        if begun is not None:
            begun[1].ahead.close()
        yield from self._batches(self._begin_epoch(epoch, start_step), next_epoch=epoch + 1 if has_next_epoch else None)

    def _begin_epoch(self, epoch: int, start_step: int) -> _Pass:
        steps = self._order.epoch(epoch, rank=self._rank, size=self._size, start_step=start_step)
        return self._begin(steps, Augment(self._settings.augment, seed=self._seed, epoch=epoch))

    def sweep(self) -> Iterator[Batch]:
        """Every row of the split once over all ranks, in file order, not augmented; the last batch may be short."""
        sizes = [piece.rows for piece in self._pieces]
        steps = sweep(sizes, batch_size=self._batch_size, rank=self._rank, size=self._size)
        yield from self._batches(self._begin(steps, None), next_epoch=None)

    def _begin(self, steps: Iterator[Step], augment: Augment | None) -> _Pass:
        # What the pass holds must not hold the feed, else nobody could forget one with a pass begun ahead.
        pieces, settings, source = self._pieces, self._settings, self._source
        all_asked_for = threading.Event()
        # Planned once; the reader is some steps ahead, in the same thread.
        planned, taken = itertools.tee(steps)

        def plan() -> Iterator[Piece]:
            for step in planned:
                for load in step.opens:
                    yield pieces[load.group].part(load.first, load.rows)
            all_asked_for.set()

        def open_reader() -> "Reader":
            # Imported when a pass begins, since whoever reads settings only may have no petastorm.
            from training.feed.reader import Reader

            return Reader(
                plan(),
                any_shard=pieces[0].shard,
                threads=settings.reader_threads,
                max_stall_seconds=settings.max_stall_seconds,
                source=source,
            )

        painter = Painter(settings.decode, augment, self._pictures)
        made = batches(taken, open_reader, pieces, painter, self._decoders, self._blocks)
        moved = on_device(made, self._device, with_labels=self._has_labels_on_device)
        return _Pass(Prefetch(moved, depth=settings.prefetch_batches), all_asked_for)

    def _batches(self, begun: _Pass, *, next_epoch: int | None) -> Iterator[Batch]:
        met = BadRows(self._settings.max_bad_rows)
        self.bad_rows = 0
        with contextlib.closing(begun.ahead) as ahead:
            while True:
                if next_epoch is not None and self._begun is None and begun.all_asked_for.is_set():
                    self._begun = next_epoch, self._begin_epoch(next_epoch, 0)
                waited = ahead.wait_seconds
                batch = next(ahead, None)
                self.wait_seconds += ahead.wait_seconds - waited
                if batch is None:
                    return
                # Not where they were met, which is some batches ahead.
                met.note(batch.bad_rows)
                self.bad_rows = len(met)
                yield take_over(batch)
