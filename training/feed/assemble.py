"""The assembly of batches: the rows of each step, decoded by a few threads straight into one block per batch."""

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from pipelines.arrays import Picture
from pipelines.columns import DatasetColumn
from training.feed.batch import Batch
from training.feed.blocks import Blocks
from training.feed.columns import collate
from training.feed.paint import Painted, Painter, joined
from training.feed.plans.plan import Step
from training.feed.shards import Piece, Rows

if TYPE_CHECKING:
    from training.feed.reader import Reader

# Pictures that a thread decodes at a time: enough to make handing out cheap, few enough to stay in the cache.
MOST_CHUNK_ROWS = 128
# Batches in decoding at once, so that no thread waits for the last picture of a batch.
DECODING_BATCHES = 2


class Decoders:
    """The decoding threads, shared by passes over a split of which one begins before the other ends."""

    def __init__(self, threads: int) -> None:
        """Start no thread yet."""
        self.threads = threads
        self._lock = threading.Lock()
        self._num_passes = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[ThreadPoolExecutor]:
        """The threads, for one pass; the last one ends them."""
        with self._lock:
            if self._num_passes == 0:
                self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="feed-decode")
                cv2.setNumThreads(1)  # these threads are the only ones
            self._num_passes += 1
        try:
            yield self._executor
        finally:
            with self._lock:
                self._num_passes -= 1
                if self._num_passes == 0:
                    self._executor.shutdown()


def batches(
    steps: Iterator[Step],
    open_reader: Callable[[], "Reader"],
    pieces: Sequence[Piece],
    painter: Painter,
    decoders: Decoders,
    blocks: Blocks,
    columns: Sequence[DatasetColumn] = (),
) -> Generator[Batch, None, None]:
    """The batches of the steps.

    Args:
        open_reader: gives the loads that the steps open, in their order.
        pieces: the split's row groups, as the loads count them.
        columns: beside the standard ones; they become extras. Geometric ones need a painter with maps.

    Raises:
        UserError: a shard is missing or damaged, or a row group has no good row.
        RuntimeError: the reader ended before the steps did.
    """
    decoding: deque[_Decoding] = deque()
    with open_reader() as reader, decoders.running() as executor, _cancelling(decoding):
        opened: dict[int, Rows] = {}
        num_opened = 0
        for step in steps:
            for part in step.opens:
                opened[num_opened] = _next_rows(reader, pieces[part.group].part(part.first, part.rows))
                num_opened += 1
            picks = [(opened[load], row) for load, row in zip(step.loads.tolist(), step.rows.tolist(), strict=True)]
            variants = [0] * len(picks) if step.variants is None else step.variants.tolist()
            for load in step.closes:
                del opened[load]
            chunk_rows = min(MOST_CHUNK_ROWS, math.ceil(len(picks) / decoders.threads))
            block = blocks.take(len(picks))
            chunks = [
                executor.submit(painter.paint, block[chunk], picks[chunk], variants[chunk])
                for chunk in (slice(start, start + chunk_rows) for start in range(0, len(picks), chunk_rows))
            ]
            decoding.append(_Decoding(block, chunks, columns))
            del block  # held here it could not be used again
            if len(decoding) == DECODING_BATCHES:
                yield decoding.popleft().batch()
        while decoding:
            yield decoding.popleft().batch()


def _next_rows(reader: Iterator[Rows], expected: Piece) -> Rows:
    rows = next(reader, None)
    if rows is None:
        raise RuntimeError(f"the reader ended before {expected}, which was in its plan")
    assert rows.piece == expected, f"the reader gave {rows.piece} where its plan has {expected}"
    return rows


@contextlib.contextmanager
def _cancelling(decoding: "deque[_Decoding]") -> Iterator[None]:
    try:
        yield
    finally:
        # After an error or an early end the rest is not needed.
        chunks = [chunk for batch in decoding for chunk in batch.chunks]
        wait([chunk for chunk in chunks if not chunk.cancel()])


@dataclass(frozen=True)
class _Decoding:
    """A batch whose pictures are being decoded."""

    block: Picture  # (B, S, S, 3)
    chunks: list[Future[Painted]]
    columns: Sequence[DatasetColumn]

    def batch(self) -> Batch:
        wait(self.chunks, return_when=FIRST_EXCEPTION)  # wakes up once, where asking each would wake up for each
        painted = joined([chunk.result() for chunk in self.chunks])
        picks = painted.picks
        return Batch(
            images=torch.from_numpy(self.block).permute(0, 3, 1, 2),
            # Through numpy, which is four times as fast for a list.
            labels=torch.from_numpy(np.array([rows.labels[row] for rows, row in picks], np.int64)),
            image_ids=[rows.image_ids[row] for rows, row in picks],
            extras={
                column.name: collate(column, [rows.cell(column, row) for rows, row in picks], painted.maps)
                for column in self.columns
            },
            bad_rows=painted.bad_rows,
        )
