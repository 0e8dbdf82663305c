"""Steps and the rows of their row groups -> batches, decoded by a few threads straight into one block per batch."""

import contextlib
import math
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache, partial

import cv2
import numpy as np
import torch

from pipelines.pixels import DecodeError
from training.feed.augment import Augment, Picture
from training.feed.bad_rows import BadRowError
from training.feed.decode import ChooseBox, DecodeSettings, centre_box, jpeg_size, render
from training.feed.keep import KeptPictures
from training.feed.order import Step
from training.feed.reader import Reader
from training.feed.shards import Piece, Rows

# Pictures that a thread decodes at a time: enough to make handing out cheap, few enough to stay in the cache.
MOST_CHUNK_ROWS = 64
# Batches in decoding at once, so that no thread waits for the last picture of a batch.
DECODING_BATCHES = 2
# Blocks of pixels kept for use again; more than a queue of usual length and its consumer hold.
MOST_BLOCKS = 16

Pick = tuple[Rows, int]


@dataclass(frozen=True)
class Batch:
    """The rows of one step on one rank."""

    images: torch.Tensor  # uint8 (B, 3, H, W), RGB, in channels_last memory
    labels: torch.Tensor  # int64 (B,)
    image_ids: list[str]
    bad_rows: tuple[BadRowError, ...] = ()  # in whose place others stand


@dataclass(frozen=True)
class Painted:
    """What a part of a block shows."""

    picks: list[Pick]
    bad_rows: tuple[BadRowError, ...] = ()  # met on the way


@dataclass(frozen=True)
class DualBatch:
    """Two pictures of each identity drawn, and pictures drawn from all of them: what F2C takes (arXiv 2105.10375)."""

    first: torch.Tensor  # uint8 (B, 3, H, W), RGB: one picture of each identity
    second: torch.Tensor  # uint8 (B, 3, H, W): another, or the same where there is but one
    identities: torch.Tensor  # int64 (B,): their labels
    instances: torch.Tensor  # uint8 (I, 3, H, W)
    instance_labels: torch.Tensor  # int64 (I,)

    @property
    def labels(self) -> torch.Tensor:
        """Of all pictures (2B + I,)."""
        return torch.cat([self.identities, self.identities, self.instance_labels])


AnyBatch = Batch | DualBatch


class Painter:
    """Paints rows into their places of a block; the same picture for the same row whatever the thread."""

    def __init__(self, settings: DecodeSettings, augment: Augment | None, kept: KeptPictures | None = None) -> None:
        """Prepare to paint.

        Args:
            kept: takes the pictures that are decoded; may be used only where none is cropped at random.
        """
        assert kept is None or augment is None or not augment.crops
        self.size_px = settings.size_px
        self._limits = settings.limits
        self._augment = augment
        self._kept = kept
        self._centre: ChooseBox = lru_cache(maxsize=1024)(partial(centre_box, settings=settings))

    def paint(self, block: Picture, picks: list[Pick], variants: Sequence[int]) -> Painted:
        """Fill ``block`` (B, S, S, 3) with the pictures of as many rows, or of others where these are bad.

        Each is changed as its variant says.

        Raises:
            BadRowError: no row of the row group is good.
        """
        try:
            self._paint(block, picks, variants)
        except BadRowError:
            return self._replace(block, picks, variants)
        return Painted(picks)

    def _replace(self, block: Picture, picks: list[Pick], variants: Sequence[int]) -> Painted:
        """The slow way of a part that has a bad row: each row by itself."""
        shown, bad_rows = [], []
        for picture, pick, variant in zip(block, picks, variants, strict=True):
            errors: list[BadRowError] = []
            for rows, row in _stand_ins(pick):
                try:
                    self._paint(picture[None], [(rows, row)], [variant])
                except BadRowError as error:
                    errors.append(error)
                else:
                    shown.append((rows, row))
                    bad_rows += errors
                    break
            else:
                raise errors[0]
        return Painted(shown, tuple(bad_rows))

    def _paint(self, block: Picture, picks: list[Pick], variants: Sequence[int]) -> None:
        if self._augment is None:
            self._decode(block, picks, [self._centre] * len(picks))
            return
        draws = [
            self._augment.draws(rows.image_ids[row], variant)
            for (rows, row), variant in zip(picks, variants, strict=True)
        ]
        crops = [partial(self._augment.crop, draw) if self._augment.crops else self._centre for draw in draws]
        self._decode(block, picks, crops)
        for picture, draw in zip(block, draws, strict=True):
            self._augment.apply(picture, draw)

    def _decode(self, block: Iterable[Picture], picks: list[Pick], crops: list[ChooseBox]) -> None:
        if self._kept is None:
            self._render(block, picks, crops)
            return
        shown = zip(block, picks, crops, strict=True)
        new = [part for part in shown if not self._kept.show(part[1][0].piece, part[1][1], part[0])]
        if new:
            self._render(*map(list, zip(*new, strict=True)))
        for picture, (rows, row), _ in new:
            self._kept.keep(rows.piece, row, picture)

    def _render(self, block: Iterable[Picture], picks: list[Pick], crops: list[ChooseBox]) -> None:
        # One kind of work after the other: after each decode the little code in between would run from a cold cache,
        # which makes it three times as slow.
        images = [rows.image(row) for rows, row in picks]
        sizes = [jpeg_size(data, self._limits) for data in images]
        for picture, (rows, row), data, size, crop in zip(block, picks, images, sizes, crops, strict=True):
            try:
                render(data, picture, size, crop, limits=self._limits)
            except DecodeError as error:
                raise rows.fault(row, f"cannot be decoded ({error})") from None


def _stand_ins(pick: Pick) -> Iterator[Pick]:
    """The row itself, then those that follow it in its row group, round from the last to the first."""
    yield pick
    rows, row = pick
    whole = rows.whole()
    place = rows.piece.first + row
    for other in (*range(place + 1, len(whole.labels)), *range(place)):
        yield whole, other


def batches(
    steps: Iterator[Step],
    open_reader: Callable[[], Reader],
    pieces: Sequence[Piece],
    painter: Painter,
    *,
    threads: int,
) -> Generator[Batch, None, None]:
    """The batches of the steps.

    Args:
        open_reader: gives the loads that the steps open, in their order.
        pieces: the split's row groups, as the loads count them.

    Raises:
        UserError: a shard is missing or damaged, or a row group has no good row.
        RuntimeError: the reader ended before the steps did.
    """
    cv2.setNumThreads(1)  # the threads of the feed are the only ones
    with open_reader() as reader, _executor(threads) as executor:
        opened: dict[int, Rows] = {}
        num_opened = 0
        decoding: deque[_Decoding] = deque()
        blocks = _Blocks(painter.size_px)
        for step in steps:
            for part in step.opens:
                opened[num_opened] = _next_rows(reader, pieces[part.group].part(part.first, part.rows))
                num_opened += 1
            picks = [(opened[load], row) for load, row in zip(step.loads.tolist(), step.rows.tolist(), strict=True)]
            variants = [0] * len(picks) if step.variants is None else step.variants.tolist()
            for load in step.closes:
                del opened[load]
            chunk_rows = min(MOST_CHUNK_ROWS, math.ceil(len(picks) / threads))
            block = blocks.take(len(picks))
            chunks = [
                executor.submit(painter.paint, block[chunk], picks[chunk], variants[chunk])
                for chunk in (slice(start, start + chunk_rows) for start in range(0, len(picks), chunk_rows))
            ]
            decoding.append(_Decoding(block, chunks))
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
def _executor(threads: int) -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(threads, thread_name_prefix="feed-decode")
    try:
        yield executor
    finally:
        # After an error or an early end nobody asks for the rest.
        executor.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Decoding:
    """A batch whose pictures are being decoded."""

    block: Picture  # (B, S, S, 3)
    chunks: list[Future[Painted]]

    def batch(self) -> Batch:
        wait(self.chunks, return_when=FIRST_EXCEPTION)  # wakes up once, where asking each would wake up for each
        painted = [chunk.result() for chunk in self.chunks]
        picks = [pick for part in painted for pick in part.picks]
        return Batch(
            images=torch.from_numpy(self.block).permute(0, 3, 1, 2),
            labels=torch.tensor([rows.labels[row] for rows, row in picks], dtype=torch.int64),
            image_ids=[rows.image_ids[row] for rows, row in picks],
            bad_rows=tuple(error for part in painted for error in part.bad_rows),
        )


class _Blocks:
    """Blocks of pixels, used again once nobody holds them, since new pages cost up to a tenth of the decoding."""

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px
        self._blocks: list[Picture] = []

    def take(self, num_pictures: int) -> Picture:
        """A block (B, S, S, 3) that no batch shows any more."""
        for block in self._blocks:
            # The list, the loop and the call itself; a batch's tensors and their views hold the array as well.
            if len(block) == num_pictures and sys.getrefcount(block) == 3:
                return block
        block = np.empty((num_pictures, self._size_px, self._size_px, 3), np.uint8)
        self._blocks = [*self._blocks[1 - MOST_BLOCKS :], block]
        return block
