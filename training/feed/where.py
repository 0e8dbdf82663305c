"""Predicates that choose the rows of a split that are fed. A row group is read whole, and its other rows are dropped.

The choice depends on the rows alone, so that it is the same in every epoch, on every rank and for every seed.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipelines.arrays import BoolArray
from pipelines.records import IMAGE_ID, LABEL
from pipelines.settings import UserError
from training.feed.settings import WhereSettings
from training.feed.shards import Piece, Source, read_columns

_DIGITS = 8  # of an image_id that decide; it is a digest, so they are as good as drawn
_COLUMNS = (IMAGE_ID, LABEL)


def mask(where: WhereSettings, table: pa.Table) -> BoolArray:
    """The chosen rows of a table with image_id and label, as (N,) truth values."""
    chosen = np.ones(len(table), np.bool_)
    if where.labels is not None:
        labels = table.column(LABEL).to_numpy()
        chosen &= (labels >= where.labels[0]) & (labels < where.labels[1])
    if where.share < 1.0:
        limit = where.share * 16**_DIGITS
        ids = table.column(IMAGE_ID).to_pylist()
        chosen &= np.array([int(image_id[:_DIGITS], 16) < limit for image_id in ids], np.bool_)
    return chosen


def chosen_pieces(pieces: Sequence[Piece], where: WhereSettings) -> list[Piece]:
    """The row groups with as many rows as are chosen of each, for which their narrow columns are read once.

    Raises:
        UserError: none is chosen, or a shard cannot be read.
    """
    if where.is_everything:
        return list(pieces)
    counts = [int(mask(where, read_columns(piece, _COLUMNS)).sum()) for piece in pieces]
    if not any(counts):
        raise UserError(f"feed.where ({where.model_dump_json()}) chooses none of {sum(p.rows for p in pieces)} rows")
    return [replace(piece, rows=count, group_rows=count) for piece, count in zip(pieces, counts, strict=True)]


class ChosenRows:
    """A source of the chosen rows of row groups."""

    def __init__(self, source: Source, where: WhereSettings) -> None:
        self._source = source
        self._where = where

    def __call__(self, piece: Piece) -> pa.Table:
        table = self._source(piece)
        return table.filter(pa.array(mask(self._where, table)))
