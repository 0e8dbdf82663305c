"""The feed of one rank: from a dataset's shards to the batches of its steps.

Row groups are read ahead in plan order, pictures are decoded by a few threads straight into the block of their batch,
and finished batches wait in a short queue. Memory: the encoded row groups that the plan keeps open (see
``shuffle_row_groups``) and ``prefetch_batches + 3`` decoded batches.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import Field

from pipelines import manifest
from pipelines.settings import Settings, UserError
from training.feed.augment import Augment, AugmentSettings
from training.feed.balance import IdentityOrder, read_identities
from training.feed.batch import Batch, Painter, batches
from training.feed.decode import DecodeSettings
from training.feed.order import Order, Plan, Step, sweep
from training.feed.prefetch import Prefetch
from training.feed.reader import REMEDY, Piece, Reader


class FeedSettings(Settings):
    """How shards become batches."""

    decode: DecodeSettings = DecodeSettings()
    augment: AugmentSettings = AugmentSettings()
    threads: int = Field(default=1, ge=1, le=256)  # that decode, per rank
    reader_threads: int = Field(default=1, ge=1, le=64)  # that read row groups, per rank; more for far stores
    # Row groups mixed at a time, over all ranks together; these lie in memory, encoded. There are at least
    # gcd(global_batch_size, 48), one for each stream of the plan.
    shuffle_row_groups: int = Field(default=32, ge=1, le=65536)
    prefetch_batches: int = Field(default=2, ge=1, le=64)
    # So many of each identity stand side by side in a batch, which needs shard.layout=identity; null = single pictures.
    photos_per_identity: int | None = Field(default=None, ge=1, le=1024)


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
    ) -> None:
        """Read the manifest; no shard is opened yet.

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
        self._batch_size = global_batch_size // size
        self._pieces = row_groups(dataset, split)
        self._order = self._plan(dataset, split, global_batch_size)
        self.steps_per_epoch = self._order.steps_per_epoch
        self.wait_seconds = 0.0  # that consumers have waited for batches since the feed was built

    def _plan(self, dataset: Path, split: str, global_batch_size: int) -> Plan:
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

    def epoch(self, epoch: int, *, start_step: int = 0) -> Iterator[Batch]:
        """The batches of one pass over the split, shuffled and augmented, from a step on."""
        augment = Augment(self._settings.augment, seed=self._seed, epoch=epoch)

        def steps() -> Iterator[Step]:
            return self._order.epoch(epoch, rank=self._rank, size=self._size, start_step=start_step)

        return self._batches(steps, augment)

    def sweep(self) -> Iterator[Batch]:
        """Every row of the split once over all ranks, in file order, not augmented; the last batch may be short."""
        sizes = [piece.rows for piece in self._pieces]

        def steps() -> Iterator[Step]:
            return sweep(sizes, batch_size=self._batch_size, rank=self._rank, size=self._size)

        return self._batches(steps, None)

    def _batches(self, steps: Callable[[], Iterator[Step]], augment: Augment | None) -> Iterator[Batch]:
        plan = (_part(self._pieces[load.group], load.first, load.rows) for step in steps() for load in step.opens)
        source = batches(
            steps(),
            lambda: Reader(plan, any_shard=self._pieces[0].shard, threads=self._settings.reader_threads),
            Painter(self._settings.decode, augment),
            threads=self._settings.threads,
        )
        with contextlib.closing(Prefetch(source, depth=self._settings.prefetch_batches)) as ahead:
            while True:
                waited = ahead.wait_seconds
                batch = next(ahead, None)
                self.wait_seconds += ahead.wait_seconds - waited
                if batch is None:
                    return
                yield batch


def row_groups(dataset: Path, split: str) -> list[Piece]:
    """Every row group of a split, whole, in the manifest's order.

    Raises:
        UserError: no finished dataset, no such split in it, or a shard that is not there whole.
    """
    found = manifest.read(dataset)
    shards = [file for file in found.files if file.row_groups and file.path.startswith(f"{split}/")]
    if not shards:
        splits = sorted({file.path.split("/")[0] for file in found.files if file.row_groups and "/" in file.path})
        raise UserError(f"{dataset} has no split {split!r}; it has {', '.join(splits) or 'none'}")
    for file in shards:
        path = dataset / file.path
        # Costs microseconds here, and hours where it shows only when the epoch comes to it.
        if not path.is_file() or path.stat().st_size != file.num_bytes:
            raise UserError(f"{path} is missing or cut; {REMEDY}")
    return [
        Piece(dataset / file.path, number, group_rows=group.rows, first=0, rows=group.rows)
        for file in shards
        for number, group in enumerate(file.row_groups)
    ]


def _part(piece: Piece, first: int, rows: int) -> Piece:
    return Piece(piece.shard, piece.row_group, piece.group_rows, first, rows)
