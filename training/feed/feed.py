"""The feed of one rank: from a dataset's shards to the batches of its steps.

Row groups are read ahead in plan order, pictures are decoded by a few threads straight into the block of their batch,
and finished batches wait in a short queue. Memory: the encoded row groups that the plan keeps open (see
``shuffle_row_groups``) and ``prefetch_batches + 3`` decoded batches.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipelines.columns import STANDARD, extra_columns
from pipelines.settings import UserError
from training.feed.assemble import Decoders, batches
from training.feed.augment import Augment
from training.feed.bad_rows import BadRows
from training.feed.batch import Batch
from training.feed.blocks import Blocks
from training.feed.cache import CachedRowGroups
from training.feed.device import on_device, take_over
from training.feed.in_memory import KeptPictures, KeptRowGroups, check_room
from training.feed.location import dataset_location
from training.feed.paint import Painter
from training.feed.plans.plan import Split, Step
from training.feed.plans.rows import Order, sweep
from training.feed.plans.table import build_plan
from training.feed.prefetch import Prefetch
from training.feed.quality import shuffle_line
from training.feed.settings import FeedSettings
from training.feed.shards import Piece, Source, keep_pages, read_row_group, row_groups
from training.feed.where import ChosenRows, chosen_pieces
from training.needs import Needs

if TYPE_CHECKING:
    from training.feed.reader import Reader

CPU = torch.device("cpu")
ROWS_ALONE = Needs()


@dataclass(frozen=True)
class _Pass:
    """One pass over the split, which has begun."""

    ahead: Prefetch[Batch]
    all_asked_for: threading.Event  # set once the reader was asked for the last row group
    arrange: Callable[[Batch], Batch]


class Feed:
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
        needs: Needs = ROWS_ALONE,
        device: torch.device = CPU,
    ) -> None:
        """Read the manifest; no shard is opened yet.

        Args:
            global_batch_size: pictures of a step of all ranks; some plans show further views beside them.
            needs: of the objective.
            device: of the batches; some plans keep the labels in main memory.

        Raises:
            UserError: the dataset or the split is not there, the ranks cannot share the batch evenly, or the settings
                break a rule of the plan.
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
        self._columns = extra_columns(needs.columns)
        self._pieces = chosen_pieces(row_groups(location, split), settings.where)
        group_rows = [piece.rows for piece in self._pieces]
        self._plan = build_plan(needs, Split(location, split, group_rows, settings, seed, global_batch_size))
        self._source, self._pictures = self._open_source()
        self._decoders = Decoders(settings.threads)
        self._blocks = Blocks(settings.decode.size_px, is_pinned=device.type == "cuda")
        self._begun: tuple[int, _Pass] | None = None  # the pass that will follow, by its epoch
        keep_pages()
        self.steps_per_epoch = self._plan.steps_per_epoch
        self.wait_seconds = 0.0  # that consumers have waited for batches since the feed was built
        self.bad_rows = 0  # that this rank has met in its newest pass

    def _open_source(self) -> tuple[Source, KeptPictures | None]:
        """The row-group source, and the store of decoded pictures if there is one."""
        settings, size_px = self._settings, self._settings.decode.size_px
        extras = [column.name for column in self._columns]
        source: Source = partial(read_row_group, columns=(*STANDARD, *extras))
        if settings.cache_dir is not None:
            source = CachedRowGroups(source, settings.cache_dir, max_bytes=settings.cache_bytes, extra_columns=extras)
        if not settings.where.is_everything:
            source = ChosenRows(source, settings.where)
        if settings.keep == "none":
            return source, None
        check_room(self._pieces, keep=settings.keep, keep_bytes=settings.keep_bytes, size_px=size_px)
        pictures = KeptPictures(self._pieces, size_px=size_px) if settings.keep == "decoded" else None
        return KeptRowGroups(source), pictures

    def shuffle_line(self) -> str | None:
        """One line on how well the rows are shuffled, beside less and more memory; None for other plans."""
        if not isinstance(self._plan, Order):
            return None
        return shuffle_line(
            [piece.rows for piece in self._pieces],
            self._settings.shuffle_row_groups,
            seed=self._seed,
            global_batch_size=self._batch_size * self._size,
        )

    def epoch(self, epoch: int, *, start_step: int = 0, has_next_epoch: bool = False) -> Iterator[Batch]:
        """The batches of one pass over the split, shuffled and augmented, from a step on.

        Args:
            has_next_epoch: the next epoch will be asked for. It begins once the last row group of this one was asked
                for, since its first step opens a row group of every stream; the two then share the memory for a while.

        Raises:
            UserError: a batch takes more pictures, or identities, than there are.
        """
        begun, self._begun = self._begun, None
        if begun is not None and start_step == 0 and begun[0] == epoch:
            yield from self._batches(begun[1], next_epoch=epoch + 1 if has_next_epoch else None)
            return
        if begun is not None:
            begun[1].ahead.close()
        yield from self._batches(self._begin_epoch(epoch, start_step), next_epoch=epoch + 1 if has_next_epoch else None)

    def _begin_epoch(self, epoch: int, start_step: int) -> _Pass:
        if self._plan.shortage is not None:
            raise UserError(self._plan.shortage)
        steps = self._plan.epoch(epoch, rank=self._rank, size=self._size, start_step=start_step)
        augment = Augment(self._settings.augment, seed=self._seed, epoch=epoch)
        return self._begin(steps, augment, self._plan.arrange)

    def sweep(self) -> Iterator[Batch]:
        """Every row of the split once over all ranks, in file order, not augmented; the last batch may be short."""
        sizes = [piece.rows for piece in self._pieces]
        steps = sweep(sizes, batch_size=self._batch_size, rank=self._rank, size=self._size)
        yield from self._batches(self._begin(steps, None, lambda batch: batch), next_epoch=None)

    def _begin(self, steps: Iterator[Step], augment: Augment | None, arrange: Callable[[Batch], Batch]) -> _Pass:
        # What the pass holds must not hold the feed, else nobody could forget one with a pass begun ahead.
        pieces, settings, source, columns = self._pieces, self._settings, self._source, self._columns
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

        with_maps = any(column.geometry is not None for column in columns)
        painter = Painter(settings.decode, augment, self._pictures, with_maps=with_maps)
        made = batches(taken, open_reader, pieces, painter, self._decoders, self._blocks, columns)
        moved = on_device(made, self._device, with_labels=not self._plan.keeps_labels_on_host)
        return _Pass(Prefetch(moved, depth=settings.prefetch_batches), all_asked_for, arrange)

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
                yield begun.arrange(take_over(batch))
