"""The shards of a split, their row groups, and the rows of one of these."""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from isal import isal_zlib

from pipelines import manifest, records
from pipelines.column_digest import column_digest
from pipelines.columns import STANDARD, DatasetColumn
from pipelines.settings import UserError
from training.feed.bad_rows import REMEDY, BadRowError
from training.feed.columns import Cells, Values, read_cells
from training.feed.decode import are_plain_jpegs
from training.feed.location import Location, named_faults
from training.feed.retry import with_retries

PAGES_KEPT_MS = 1_000
_TAIL_BYTES = 64 << 10


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a dataset."""

    location: Location
    path: str  # below the location
    num_bytes: int
    sha256: str
    footer: str | None = None  # sha256

    def __str__(self) -> str:
        return self.location.name_of(self.path)


@dataclass(frozen=True)
class Piece:
    """One row group of one shard, and the range of its rows that is needed."""

    shard: Shard
    row_group: int
    stored_rows: int  # that the manifest promises
    group_rows: int  # of them that are fed at all, see `where`; counted by themselves
    first: int
    rows: int
    # Of the columns, as the manifest has them. The pictures have theirs row by row, in a column of that name.
    digests: tuple[tuple[str, int], ...] = ()

    @classmethod
    def whole(cls, shard: Shard, row_group: int, rows: int, digests: tuple[tuple[str, int], ...] = ()) -> Self:
        return cls(shard, row_group, stored_rows=rows, group_rows=rows, first=0, rows=rows, digests=digests)

    def __str__(self) -> str:
        return f"{self.shard}: row group {self.row_group}"

    def part(self, first: int, rows: int) -> "Piece":
        return replace(self, first=first, rows=rows)


Source = Callable[[Piece], pa.Table]  # the columns of the whole row group of a piece


class Rows:
    """The chosen rows of a row group, images still encoded; rows are counted from the piece's first."""

    def __init__(self, piece: Piece, table: pa.Table) -> None:
        self.piece = piece
        self._table = table
        self._cells: dict[str, Cells] = {}
        self._chosen = chosen = table.slice(piece.first, piece.rows)
        # Through numpy, since to_pylist takes ten times as long and holds the GIL.
        self.image_ids: list[str] = chosen.column(records.IMAGE_ID).to_numpy().tolist()
        self.labels: list[int] = chosen.column(records.LABEL).to_numpy().tolist()
        self._digests: list[int] = chosen.column(records.DIGEST).to_numpy().tolist()
        images = _as_one(chosen.column(records.IMAGE))
        _, offset_buffer, data = images.buffers()
        offsets = np.frombuffer(offset_buffer, np.int32)[images.offset : images.offset + piece.rows + 1]
        self._offsets: list[int] = offsets.tolist()
        data = b"" if data is None else data
        self._data = memoryview(data).cast("B")
        # For all at once, since one by one would take a tenth of the time that it saves.
        self.is_plain: list[bool] = are_plain_jpegs(np.frombuffer(data, np.uint8), offsets[:-1]).tolist()

    def whole(self) -> "Rows":
        """All rows of the row group."""
        return Rows(self.piece.part(0, self.piece.group_rows), self._table)

    def image(self, row: int) -> memoryview:
        """The bytes of one image, not copied.

        Raises:
            BadRowError: they are not what was written.
        """
        data = self._data[self._offsets[row] : self._offsets[row + 1]]
        if isal_zlib.crc32(data) != self._digests[row]:
            raise self.fault(row, "is not what was written (its digest differs)")
        return data

    def cell(self, column: DatasetColumn, row: int) -> Values:
        """The values of a column beside the standard ones for one row; see `columns.Cells`.

        Raises:
            UserError: they cannot be fed.
        """
        cells = self._cells.get(column.name)
        if cells is None:
            cells = self._cells[column.name] = read_cells(column, _as_one(self._chosen.column(column.name)))
        return cells.of(row)

    def fault(self, row: int, what: str) -> BadRowError:
        """The error of a damaged row."""
        piece = self.piece
        among = "" if piece.group_rows == piece.stored_rows else f"those of feed.where, {piece.group_rows} rows, of "
        place = f"row {piece.first + row} of {among}row group {piece.row_group}"
        place += f" ({records.IMAGE_ID} {self.image_ids[row]})"
        return BadRowError(f"{piece.shard}: {place}", what)


def _as_one(column: pa.ChunkedArray) -> pa.Array:
    # combine_chunks would copy a single chunk too.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def keep_pages() -> None:
    """Have Arrow keep the pages of row groups that are freed for a second, for the next ones.

    jemalloc, the allocator of older versions, gives them back at once, and new ones cost a third of the time of
    reading; mimalloc, that of today's, keeps them by itself.
    """
    with contextlib.suppress(NotImplementedError):  # this Arrow was built without jemalloc
        pa.jemalloc_set_decay_ms(PAGES_KEPT_MS)


def row_groups(location: Location, split: str) -> list[Piece]:
    """Every row group of a split, whole, in the manifest's order.

    Raises:
        UserError: no finished dataset, no such split in it, or a shard that is not there whole.
    """
    found = manifest.read_from(location, location.read)
    shards = [file for file in found.files if file.row_groups and file.path.startswith(f"{split}/")]
    if not shards:
        splits = sorted({file.path.split("/")[0] for file in found.files if file.row_groups and "/" in file.path})
        raise UserError(f"{location} has no split {split!r}; it has {', '.join(splits) or 'none'}")
    sizes = location.sizes(split)
    for file in shards:
        # Costs one listing here, and hours where it shows only when the epoch comes to it.
        if sizes.get(file.path) != file.num_bytes:
            raise UserError(f"{location.name_of(file.path)} is missing or cut; {REMEDY}")
    return [
        Piece.whole(
            Shard(location, file.path, file.num_bytes, file.sha256, file.footer), number, group.rows, group.digests
        )
        for file in shards
        for number, group in enumerate(file.row_groups)
    ]


def read_whole(location: Location, name: str) -> bytes:
    """A small file of the dataset, compared with the manifest.

    Raises:
        UserError: it is missing or damaged.
    """
    digests = {file.path: file.sha256 for file in manifest.read_from(location, location.read).files}
    try:
        content = location.read(name)
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != digests.get(name):
        raise UserError(f"{location.name_of(name)} is missing or was altered since it was written; {REMEDY}")
    return content


def read_footer(shard: Shard, stream: pa.NativeFile) -> pq.FileMetaData | None:
    """The footer of a shard, compared with the manifest; None where that has no digest of it.

    Raises:
        UserError: it is not what was written.
    """
    if shard.footer is None:
        return None
    # As much at once as Arrow reads itself.
    tail = stream.read_at(min(_TAIL_BYTES, shard.num_bytes), max(0, shard.num_bytes - _TAIL_BYTES))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < length <= shard.num_bytes:
        tail = stream.read_at(length, shard.num_bytes - length)
    footer = tail[-length:]
    if hashlib.sha256(footer).hexdigest() != shard.footer:
        raise UserError(f"{shard}: its footer is not what was written (its digest differs); {REMEDY}")
    return pq.read_metadata(pa.BufferReader(footer))


def read_row_group(piece: Piece, columns: Sequence[str] = STANDARD) -> pa.Table:
    """The columns of a whole row group, read once and by this thread.

    Raises:
        UserError: the shard is missing or damaged, has no such column, or values in it that were not written.
        OSError: a fault that may be transient.
    """
    shard, part = piece.shard, f"row group {piece.row_group}"
    with (
        named_faults(shard.location, shard.path, part, remedy=REMEDY),
        shard.location.open(shard.path) as stream,
        # Far away one request for all columns is worth a thread of Arrow's.
        pq.ParquetFile(stream, metadata=read_footer(shard, stream), pre_buffer=shard.location.is_remote) as file,
    ):
        table = file.read_row_group(piece.row_group, columns=list(columns), use_threads=False)
    if missing := [name for name in columns if name not in table.column_names]:
        raise UserError(f"{shard} has no column {missing[0]!r}; set shard.columns=[{','.join(missing)}]")
    if table.num_rows != piece.stored_rows:
        raise UserError(f"{piece} has {table.num_rows} rows, not {piece.stored_rows}; {REMEDY}")
    for name, digest in piece.digests:
        if name in columns and column_digest(table.column(name)) != digest:
            raise UserError(f"{piece}: its column {name} is not what was written (its digest differs); {REMEDY}")
    return table


def read_columns(piece: Piece, columns: Sequence[str]) -> pa.Table:
    """`read_row_group`, repeated after transient faults; for tables that no reader reads ahead."""
    remote = piece.shard.location.remote
    return with_retries(lambda: read_row_group(piece, columns), name=str(piece), settings=remote)
