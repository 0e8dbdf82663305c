"""A small set held in memory: its row groups as they were read, and, where asked for, its decoded pictures."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipelines.arrays import Picture
from pipelines.settings import UserError
from training.feed.geometry import Shown
from training.feed.shards import Piece, Source


class KeptRowGroups:
    """A source that reads each row group once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tables: dict[tuple[str, int], pa.Table] = {}

    def __call__(self, piece: Piece) -> pa.Table:
        key = (piece.shard.path, piece.row_group)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self._source(piece)
        return table


class KeptPictures:
    """Pictures as the model sees them, before anything random; each is decoded once."""

    def __init__(self, pieces: Sequence[Piece], *, size_px: int) -> None:
        """Take address space for the pictures of these row groups; a page takes memory when it is written to."""
        ends: list[int] = np.cumsum([piece.rows for piece in pieces]).tolist()
        self._starts = {
            (piece.shard.path, piece.row_group): end - piece.rows for piece, end in zip(pieces, ends, strict=True)
        }
        self._pictures = np.empty((ends[-1], size_px, size_px, 3), np.uint8)
        self._shown: list[Shown | None] = [None] * ends[-1]

    def show(self, piece: Piece, row: int, picture: Picture) -> Shown | None:
        """Copy a row's picture, rows counted from the piece's first; None where it was never kept."""
        place = self._place(piece, row)
        shown = self._shown[place]
        if shown is not None:
            np.copyto(picture, self._pictures[place])
        return shown

    def keep(self, piece: Piece, row: int, picture: Picture, shown: Shown) -> None:
        place = self._place(piece, row)
        np.copyto(self._pictures[place], picture)
        self._shown[place] = shown  # last, since other threads look

    def _place(self, piece: Piece, row: int) -> int:
        return self._starts[piece.shard.path, piece.row_group] + piece.first + row


def check_room(pieces: Sequence[Piece], *, keep: str, keep_bytes: int, size_px: int) -> None:
    """Refuse to keep more than is allowed, before anything is read.

    Raises:
        UserError: the set is too large.
    """
    needed = sum({piece.shard.path: piece.shard.num_bytes for piece in pieces}.values())
    if keep == "decoded":
        needed += sum(piece.rows for piece in pieces) * size_px * size_px * 3
    if needed > keep_bytes:
        less = "feed.keep=encoded or none" if keep == "decoded" else "feed.keep=none"
        raise UserError(
            f"feed.keep={keep} takes {needed:,} bytes of memory in every rank, and feed.keep_bytes={keep_bytes}; "
            f"set {less}, or raise the limit"
        )
