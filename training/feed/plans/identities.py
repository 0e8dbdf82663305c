"""The plan of identities: batches of several photos of each identity, side by side.

FaceNet (arXiv 1503.03832, section 3.2) needs several faces of a person in a batch. An epoch shows every identity once,
up to the last batch that is full. The identities are ordered as `rows` orders rows, so that a step touches few row
groups and no number of ranks changes it; their photos are drawn by (seed, epoch, identity), without one twice as long
as there are enough, and from the first again where there are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.arrays import IntArray, UInt64Array
from pipelines.records import LABEL, SPLIT
from pipelines.settings import UserError
from training.feed.location import Location
from training.feed.plans.plan import Load, Plan, Split, Step
from training.feed.plans.rows import Order
from training.feed.shards import read_whole

LABELS_NAME = "labels.parquet"


@dataclass(frozen=True)
class Identities:
    """The places of the N identities of a split, in the order of the row groups."""

    row_group: IntArray  # (N,), counted over the split's files
    first_row: IntArray  # (N,), of the row group
    num_images: IntArray  # (N,)


def build(split: Split) -> "IdentityOrder":
    """The plan of several photos of each identity.

    Raises:
        UserError: the dataset was written without whole identities in row groups.
    """
    photos, batch_size = split.settings.photos_per_identity, split.global_batch_size
    assert photos is not None
    identities = read_identities(split.dataset, split.name)
    order = IdentityOrder(
        identities,
        num_groups=len(split.group_rows),
        seed=split.seed,
        global_batch_size=batch_size,
        photos=photos,
        mixed=split.settings.shuffle_row_groups,
    )
    num_identities = len(identities.row_group)
    if num_identities * photos < batch_size:
        order.shortage = (
            f"recipe.batch_size={batch_size} takes {batch_size // photos:,} identities of "
            f"feed.photos_per_identity={photos}, and the split {split.name!r} has {num_identities:,}; set "
            f"recipe.batch_size to at most {num_identities * photos}, or train on more identities"
        )
    return order


class IdentityOrder(Plan):
    """The order of all epochs of one training set, an identity at a time; steps as `Order` gives them."""

    def __init__(
        self, identities: Identities, *, num_groups: int, seed: int, global_batch_size: int, photos: int, mixed: int
    ) -> None:
        """Plan with batches of ``global_batch_size / photos`` identities.

        Args:
            num_groups: row groups of the split.
            mixed: row groups whose identities are mixed at a time, over all ranks.
        """
        assert global_batch_size % photos == 0
        self._identities = identities
        self._photos = photos
        self._seed = seed
        counts = np.bincount(identities.row_group, minlength=num_groups)
        self._first_identity = np.cumsum(counts) - counts
        self._order = Order(
            counts.tolist(), seed=seed, global_batch_size=global_batch_size // photos, shuffle_row_groups=mixed
        )
        self.steps_per_epoch = self._order.steps_per_epoch

    def epoch(self, epoch: int, *, rank: int, size: int, start_step: int = 0) -> Iterator[Step]:
        """The rank's steps from ``start_step`` on: the photos of its identities, those of one next to each other."""
        opened: dict[int, tuple[int, int]] = {}  # load -> its first identity, its first row in the group
        number = 0
        for step in self._order.epoch(epoch, rank=rank, size=size, start_step=start_step):
            loads = []
            for load in step.opens:
                first = int(self._first_identity[load.group]) + load.first
                loads.append(self._whole(load.group, first, load.rows))
                opened[number] = (first, loads[-1].first)
                number += 1
            # Where each slot's load begins, by identities and by rows.
            firsts, rows = np.array([opened[load] for load in step.loads.tolist()]).T
            identities = firsts + step.rows
            drawn = self._draw(identities, epoch)
            in_load = self._identities.first_row[identities][:, None] + drawn - rows[:, None]
            for load_number in step.closes:
                del opened[load_number]
            yield replace(
                step,
                opens=tuple(loads),
                loads=np.repeat(step.loads, self._photos),
                rows=in_load.reshape(-1),
                variants=self._rounds(identities).reshape(-1),
            )

    def _whole(self, group: int, first: int, count: int) -> Load:
        """The rows of neighbouring identities."""
        begin = int(self._identities.first_row[first])
        last = first + count - 1
        return Load(group, begin, int(self._identities.first_row[last] + self._identities.num_images[last]) - begin)

    def _rounds(self, identities: IntArray) -> IntArray:
        """Completed rounds (B, K) of the photos of each identity before each of its K: a photo that comes again is
        changed in another way.
        """
        rounds: IntArray = np.arange(self._photos)[None, :] // self._identities.num_images[identities][:, None]
        return rounds

    def _draw(self, identities: IntArray, epoch: int) -> IntArray:
        """The places (B, K) of the drawn photos among those of each of B identities."""
        sizes = self._identities.num_images[identities]
        owners = np.repeat(np.arange(len(identities)), sizes)
        starts = np.cumsum(sizes) - sizes
        places = np.arange(len(owners)) - starts[owners]
        keys = _mixed(_mixed(identities.astype(np.uint64), self._seed, epoch)[owners] + places.astype(np.uint64))
        shuffled = places[np.lexsort((keys, owners))]
        turns = np.arange(self._photos)[None, :] % sizes[:, None]
        drawn: IntArray = shuffled[starts[:, None] + turns]
        return drawn


def read_identities(dataset: Location, split: str) -> Identities:
    """The places of the identities of a split.

    Raises:
        UserError: the dataset was written without whole identities in row groups.
    """
    table = pq.read_table(pa.BufferReader(read_whole(dataset, LABELS_NAME)))
    names = {"row_group", "first_row", "num_images"}
    rows = table.filter(pc.equal(table[SPLIT], split)) if names <= set(table.column_names) else None
    if rows is None or rows["row_group"].null_count:
        raise UserError(
            f"{dataset} has its identities mixed, and a feed of photos by identity needs each whole in a row group; "
            "set shard.layout=identity"
        )
    in_order = rows.sort_by([("row_group", "ascending"), ("first_row", "ascending"), (LABEL, "ascending")])
    return Identities(
        *(in_order[name].to_numpy().astype(np.int64) for name in ("row_group", "first_row", "num_images"))
    )


def _mixed(values: UInt64Array, *key: int) -> UInt64Array:
    """Pseudo-random 64-bit numbers, one for each value and key: the finaliser of SplitMix64 (Steele et al. 2014)."""
    for part in (0, *key):
        # Odd, so that no two values meet; array arithmetic wraps round without a warning.
        values = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64((2 * part + 1) % 2**64)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        values = values ^ (values >> np.uint64(31))
    return values
