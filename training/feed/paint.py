"""The painter: encoded rows become the pictures of a part of a batch; a damaged row is replaced (see `bad_rows`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from pipelines.arrays import Picture
from pipelines.pixels import DecodeError
from training.feed.augment import Augment, Box
from training.feed.bad_rows import BadRowError
from training.feed.decode import ChooseBox, centre_box, jpeg_size, render, render_fitting
from training.feed.geometry import Maps, Shown, affine_map
from training.feed.in_memory import KeptPictures
from training.feed.settings import DecodeSettings
from training.feed.shards import Rows

Pick = tuple[Rows, int]


@dataclass(frozen=True)
class Painted:
    """The rows that a part of a block shows."""

    picks: list[Pick]
    maps: Maps | None = None  # (B, 2, 3) by which their pixels were moved, where asked for
    bad_rows: tuple[BadRowError, ...] = ()  # met on the way


class Painter:
    """Paints rows into their places of a block; the same picture for the same row whatever the thread."""

    def __init__(
        self,
        settings: DecodeSettings,
        augment: Augment | None,
        kept: KeptPictures | None = None,
        *,
        with_maps: bool = False,
    ) -> None:
        """Prepare to paint.

        Args:
            kept: store of decoded pictures; only without random crops.
            with_maps: also compute the affine map of each picture (see `geometry`).
        """
        assert kept is None or augment is None or not augment.crops
        self.size_px = settings.size_px
        self._limits = settings.limits
        self._augment = None if augment is None or augment.is_idle else augment
        # A picture of the right size is then shown as it is.
        self._shows_all = settings.crop == 1.0 and (augment is None or not augment.crops)
        self._kept = kept
        self._with_maps = with_maps
        self._whole = Shown(Box(0, 0, self.size_px, self.size_px))
        self._centre: ChooseBox = lru_cache(maxsize=1024)(partial(centre_box, settings=settings))

    def paint(self, block: Picture, picks: list[Pick], variants: Sequence[int]) -> Painted:
        """Fill ``block`` (B, S, S, 3) with the pictures of as many rows, or of others where these are damaged.

        A variant chooses the random changes of a picture.

        Raises:
            BadRowError: no row of the row group is good.
        """
        try:
            return Painted(picks, self._paint(block, picks, variants))
        except BadRowError:
            return self._replace(block, picks, variants)

    def _replace(self, block: Picture, picks: list[Pick], variants: Sequence[int]) -> Painted:
        """The slow path of a part that has a damaged row: each row by itself."""
        painted: list[Painted] = []
        for picture, pick, variant in zip(block, picks, variants, strict=True):
            errors: list[BadRowError] = []
            for stand_in in _replacements(pick):
                try:
                    maps = self._paint(picture[None], [stand_in], [variant])
                except BadRowError as error:
                    errors.append(error)
                else:
                    painted.append(Painted([stand_in], maps, tuple(errors)))
                    break
            else:
                raise errors[0]
        return joined(painted)

    def _paint(self, block: Picture, picks: list[Pick], variants: Sequence[int]) -> Maps | None:
        """Fill the block; returns the maps (B, 2, 3) of its pictures if asked for."""
        pictures = list(block)
        if self._augment is None:
            shown = self._decode(pictures, picks, [self._centre] * len(picks))
            return self._maps(shown, [False] * len(shown)) if self._with_maps else None
        draws = [
            self._augment.draws(rows.image_ids[row], variant)
            for (rows, row), variant in zip(picks, variants, strict=True)
        ]
        crops = [partial(self._augment.crop, draw) if self._augment.crops else self._centre for draw in draws]
        shown = self._decode(pictures, picks, crops)
        for picture, draw in zip(pictures, draws, strict=True):
            self._augment.apply(picture, draw)
        return self._maps(shown, [self._augment.mirrors(draw) for draw in draws]) if self._with_maps else None

    def _maps(self, shown: list[Shown], mirrored: list[bool]) -> Maps:
        pairs = zip(shown, mirrored, strict=True)
        return np.array([affine_map(part, self.size_px, is_mirrored=mirror) for part, mirror in pairs])

    def _decode(self, block: list[Picture], picks: list[Pick], crops: list[ChooseBox]) -> list[Shown]:
        if self._kept is None:
            return self._render(block, picks, crops)
        shown = [self._kept.show(rows.piece, row, picture) for picture, (rows, row) in zip(block, picks, strict=True)]
        new = [place for place, part in enumerate(shown) if part is None]
        if new:
            rendered = self._render(
                [block[place] for place in new], [picks[place] for place in new], [crops[place] for place in new]
            )
            for place, part in zip(new, rendered, strict=True):
                rows, row = picks[place]
                self._kept.keep(rows.piece, row, block[place], part)
                shown[place] = part
        return [part for part in shown if part is not None]

    def _render(self, block: list[Picture], picks: list[Pick], crops: list[ChooseBox]) -> list[Shown]:
        # One kind of work after the other: after each decode the little code in between would run from a cold cache,
        # which makes it three times as slow.
        images = [rows.image(row) for rows, row in picks]
        num_done = 0
        if self._shows_all and all(rows.is_plain[row] for rows, row in picks):
            num_done = render_fitting(images, block)
        shown = [self._whole] * num_done
        if num_done < len(picks):
            shown += self._render_any(block[num_done:], picks[num_done:], images[num_done:], crops[num_done:])
        return shown

    def _render_any(
        self, pictures: Sequence[Picture], picks: list[Pick], images: list[memoryview], crops: list[ChooseBox]
    ) -> list[Shown]:
        shown = []
        encoded = [bytes(image) for image in images]
        sizes = [jpeg_size(data, self._limits) for data in encoded]
        for picture, (rows, row), data, size, crop in zip(pictures, picks, encoded, sizes, crops, strict=True):
            try:
                shown.append(render(data, picture, size, crop, limits=self._limits))
            except DecodeError as error:
                raise rows.fault(row, f"cannot be decoded ({error})") from None
        return shown


def joined(parts: Sequence[Painted]) -> Painted:
    """The parts of a block as one."""
    maps = [part.maps for part in parts if part.maps is not None]
    return Painted(
        picks=[pick for part in parts for pick in part.picks],
        maps=np.concatenate(maps) if maps else None,
        bad_rows=tuple(error for part in parts for error in part.bad_rows),
    )


def _replacements(pick: Pick) -> Iterator[Pick]:
    """The row itself, then those that follow it in its row group, round from the last to the first."""
    yield pick
    rows, row = pick
    whole = rows.whole()
    place = rows.piece.first + row
    for other in (*range(place + 1, len(whole.labels)), *range(place)):
        yield whole, other
