"""Encoded rows -> the pictures of a part of a batch; a bad row is replaced by the next good one (see `bad_rows`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from pipelines.pixels import DecodeError
from training.feed.augment import Augment, Picture
from training.feed.bad_rows import BadRowError
from training.feed.decode import ChooseBox, centre_box, jpeg_size, render, render_fitting
from training.feed.in_memory import KeptPictures
from training.feed.settings import DecodeSettings
from training.feed.shards import Rows

Pick = tuple[Rows, int]


@dataclass(frozen=True)
class Painted:
    """What a part of a block shows."""

    picks: list[Pick]
    bad_rows: tuple[BadRowError, ...] = ()  # met on the way


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
        self._augment = None if augment is None or augment.is_idle else augment
        # A picture of the right size is then shown as it is.
        self._shows_all = settings.crop == 1.0 and (augment is None or not augment.crops)
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
            self._decode(list(block), picks, [self._centre] * len(picks))
            return
        draws = [
            self._augment.draws(rows.image_ids[row], variant)
            for (rows, row), variant in zip(picks, variants, strict=True)
        ]
        crops = [partial(self._augment.crop, draw) if self._augment.crops else self._centre for draw in draws]
        pictures = list(block)
        self._decode(pictures, picks, crops)
        for picture, draw in zip(pictures, draws, strict=True):
            self._augment.apply(picture, draw)

    def _decode(self, block: list[Picture], picks: list[Pick], crops: list[ChooseBox]) -> None:
        if self._kept is None:
            self._render(block, picks, crops)
            return
        shown = zip(block, picks, crops, strict=True)
        new = [part for part in shown if not self._kept.show(part[1][0].piece, part[1][1], part[0])]
        if new:
            self._render(*map(list, zip(*new, strict=True)))
        for picture, (rows, row), _ in new:
            self._kept.keep(rows.piece, row, picture)

    def _render(self, block: list[Picture], picks: list[Pick], crops: list[ChooseBox]) -> None:
        # One kind of work after the other: after each decode the little code in between would run from a cold cache,
        # which makes it three times as slow.
        images = [rows.image(row) for rows, row in picks]
        num_done = 0
        if self._shows_all and all(rows.is_plain[row] for rows, row in picks):
            num_done = render_fitting(images, block)
        if num_done < len(picks):
            self._render_any(block[num_done:], picks[num_done:], images[num_done:], crops[num_done:])

    def _render_any(
        self, pictures: Sequence[Picture], picks: list[Pick], images: list[memoryview], crops: list[ChooseBox]
    ) -> None:
        encoded = [bytes(image) for image in images]
        sizes = [jpeg_size(data, self._limits) for data in encoded]
        for picture, (rows, row), data, size, crop in zip(pictures, picks, encoded, sizes, crops, strict=True):
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
