"""The plan of rows: a pure function of the row-group sizes, the seed, the epoch and the global batch size.

The row groups are permuted, and the rows one behind the other are cut into equal streams. Each stream shuffles its rows
inside blocks of a few row groups, and every global batch takes the same number of rows from every stream. Neither the
number of ranks nor of threads enters: a rank takes its slots of the global batch, so it reads only the streams below
them. Nothing as long as the dataset's rows is ever held, only what is as long as its row groups.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.arrays import IntArray
from pipelines.settings import UserError
from training.feed.plans.plan import Load, Plan, Split, Step

# Divisible by most numbers of ranks, so that few ranks share a stream and read the same row groups.
MOST_STREAMS = 48


def build(split: Split) -> "Order":
    """The plan of single pictures."""
    order = Order(
        split.group_rows,
        seed=split.seed,
        global_batch_size=split.global_batch_size,
        shuffle_row_groups=split.settings.shuffle_row_groups,
    )
    num_rows = sum(split.group_rows)
    if num_rows < split.global_batch_size:
        chosen = "" if split.settings.where.is_everything else " that feed.where leaves"
        order.shortage = (
            f"recipe.batch_size={split.global_batch_size} takes more than the {num_rows:,} pictures of the split "
            f"{split.name!r}{chosen}; set it to at most {num_rows}, or train on more pictures"
        )
    return order


class Order(Plan):
    """The order of all epochs of one training set."""

    def __init__(
        self, group_rows: Sequence[int], *, seed: int, global_batch_size: int, shuffle_row_groups: int
    ) -> None:
        self._group_rows = np.asarray(group_rows, dtype=np.int64)
        self._seed = seed
        self._num_rows = int(self._group_rows.sum())
        if self._num_rows == 0:
            raise UserError("the split to train on has no rows; check the filters and the split of the curate stage")
        self.global_batch_size = global_batch_size
        # A set smaller than a batch, which a feed refuses, would give one batch, filled up by going round again.
        self.steps_per_epoch = max(1, self._num_rows // global_batch_size)
        self._num_streams = math.gcd(global_batch_size, MOST_STREAMS)
        self._stream_batch = global_batch_size // self._num_streams
        self._block_groups = max(1, shuffle_row_groups // self._num_streams)

    def epoch(self, epoch: int, *, rank: int, size: int, start_step: int = 0) -> Iterator[Step]:
        """The rank's steps from ``start_step`` on; each has ``global_batch_size / size`` rows."""
        assert self.global_batch_size % size == 0
        assert 0 <= start_step <= self.steps_per_epoch
        share = self.global_batch_size // size
        sequence = self._sequence(epoch)
        cursors = []
        for stream in range(self._num_streams):
            low, high = np.clip(np.array([rank, rank + 1]) * share - stream * self._stream_batch, 0, self._stream_batch)
            if low < high:
                blocks = self._blocks(sequence, epoch, stream=stream, position=start_step * self._stream_batch)
                cursors.append((_Cursor(blocks), int(low), int(high)))
        draft = _Draft()
        for number in range(start_step, self.steps_per_epoch):
            for cursor, low, high in cursors:
                cursor.take(draft, number * self._stream_batch + low, number * self._stream_batch + high)
            yield draft.finish(number)

    def _sequence(self, epoch: int) -> "_Sequence":
        generator = np.random.default_rng([self._seed, epoch])
        groups = generator.permutation(np.flatnonzero(self._group_rows))
        # Started at a random row, so that the rows dropped at the end are no fixed rows of a group.
        return _Sequence.rotated(
            groups,
            self._group_rows[groups],
            start=int(generator.integers(self._num_rows)),
            rounds=math.ceil(self.global_batch_size / self._num_rows),
        )

    def _blocks(self, sequence: "_Sequence", epoch: int, *, stream: int, position: int) -> Iterator["_Block"]:
        length = self.steps_per_epoch * self._stream_batch
        begin, end = stream * length, (stream + 1) * length
        first_piece = sequence.piece_at(begin)
        # The first blocks differ in size, so that the streams do not all turn to new row groups at the same step.
        first_groups = 1 + stream * self._block_groups // self._num_streams
        number = (sequence.piece_at(begin + position) - first_piece - first_groups) // self._block_groups + 1
        while True:
            low = first_piece + (first_groups + (number - 1) * self._block_groups if number else 0)
            high = first_piece + first_groups + number * self._block_groups
            loads, start, stop = sequence.cut(low, high, begin, end)
            # SeedSequence pads with zeros: without the 1, stream 0's first block would repeat the epoch's own draws.
            yield _Block(start - begin, stop - begin, loads, key=(self._seed, epoch, stream + 1, number))
            if stop == end:
                return
            number += 1


def sweep(group_rows: Sequence[int], *, batch_size: int, rank: int, size: int) -> Iterator[Step]:
    """Every row exactly once in file order, cut into one run per rank; a rank's last batch may be short."""
    ends = np.cumsum(np.asarray(group_rows, dtype=np.int64))
    num_rows = int(ends[-1]) if len(ends) else 0
    begin, end = rank * num_rows // size, (rank + 1) * num_rows // size
    cursor = _Cursor(_file_order(group_rows))
    draft = _Draft()
    for number, start in enumerate(range(begin, end, batch_size)):
        cursor.take(draft, start, min(end, start + batch_size))
        yield draft.finish(number)


def _file_order(group_rows: Sequence[int]) -> Iterator["_Block"]:
    start = 0
    for group, rows in enumerate(group_rows):
        yield _Block(start, start + rows, (Load(group, 0, rows),), key=None)
        start += rows


@dataclass(frozen=True)
class _Sequence:
    """All rows of an epoch one behind the other: pieces of row groups and where each piece ends."""

    groups: IntArray
    firsts: IntArray  # row of the group
    ends: IntArray  # position in the sequence

    @classmethod
    def rotated(cls, groups: IntArray, rows: IntArray, *, start: int, rounds: int) -> "_Sequence":
        """All rows of the groups from row ``start`` on and round to it again, as often as ``rounds`` says."""
        ends = np.cumsum(rows)
        split = int(np.searchsorted(ends, start, side="right"))
        head = start - int(ends[split] - rows[split])  # rows of the first group that come last
        groups = np.concatenate([groups[split:], groups[: split + 1]])
        rows = np.concatenate([rows[split:], rows[: split + 1]])
        firsts = np.zeros_like(groups)
        firsts[0] = head
        rows[0] -= head
        rows[-1] = head
        used = rows > 0
        groups, firsts, rows = (np.tile(column[used], rounds) for column in (groups, firsts, rows))
        return cls(groups, firsts, np.cumsum(rows))

    def piece_at(self, position: int) -> int:
        return int(np.searchsorted(self.ends, position, side="right"))

    def cut(self, low: int, high: int, begin: int, end: int) -> tuple[tuple[Load, ...], int, int]:
        """The pieces ``low`` to ``high`` as far as they lie within ``begin`` to ``end``, and the span they cover."""
        high = min(high, int(np.searchsorted(self.ends, end, side="left")) + 1)
        ends = self.ends[low:high]
        starts = np.concatenate([[self.ends[low - 1] if low else 0], ends[:-1]])
        begins, stops = np.maximum(starts, begin), np.minimum(ends, end)
        columns = (self.groups[low:high], self.firsts[low:high] + begins - starts, stops - begins)
        loads = tuple(Load(*row) for row in zip(*(column.tolist() for column in columns), strict=True))
        return loads, int(begins[0]), int(stops[-1])


@dataclass(frozen=True)
class _Block:
    """The loads whose rows are shuffled together; ``start`` and ``stop`` count the stream's rows."""

    start: int
    stop: int
    loads: tuple[Load, ...]
    key: tuple[int, ...] | None  # of the shuffle; None keeps the order

    def rows(self) -> tuple[IntArray, IntArray]:
        """For every row its load (counted within the block) and its place in the load."""
        counts = [load.rows for load in self.loads]
        loads = np.repeat(np.arange(len(counts)), counts)
        rows = np.concatenate([np.arange(count) for count in counts])
        if self.key is None:
            return loads, rows
        shuffled = np.random.default_rng(self.key).permutation(len(loads))
        return loads[shuffled], rows[shuffled]


class _Draft:
    """The step that is being put together."""

    def __init__(self) -> None:
        self._num_opened = 0
        self._clear()

    def _clear(self) -> None:
        self._opens: list[Load] = []
        self._closes: list[int] = []
        self._parts: list[tuple[IntArray, IntArray]] = []

    def open(self, loads: tuple[Load, ...]) -> int:
        """Note the loads, and return the number of the first."""
        first = self._num_opened
        self._num_opened += len(loads)
        self._opens.extend(loads)
        return first

    def close(self, loads: range) -> None:
        self._closes.extend(loads)

    def add(self, loads: IntArray, rows: IntArray) -> None:
        self._parts.append((loads, rows))

    def finish(self, number: int) -> Step:
        loads, rows = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        step = Step(number, tuple(self._opens), loads, rows, tuple(self._closes))
        self._clear()
        return step


class _Cursor:
    """A position in a stream of blocks: opens a block at its first row and closes it when the next is opened."""

    def __init__(self, blocks: Iterator[_Block]) -> None:
        self._blocks = blocks
        self._start = self._stop = 0
        self._open = range(0)

    def take(self, draft: _Draft, begin: int, end: int) -> None:
        """Add the stream's rows ``begin`` to ``end`` to the draft."""
        while begin < end:
            if begin >= self._stop:
                self._advance(draft, begin)
            stop = min(end, self._stop)
            part = slice(begin - self._start, stop - self._start)
            draft.add(self._loads[part], self._rows[part])
            begin = stop

    def _advance(self, draft: _Draft, position: int) -> None:
        draft.close(self._open)
        block = next(block for block in self._blocks if block.stop > position)
        first = draft.open(block.loads)
        self._open = range(first, first + len(block.loads))
        loads, self._rows = block.rows()
        self._loads = loads + first
        self._start, self._stop = block.start, block.stop
