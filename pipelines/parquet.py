"""Parquet files written by the executors, with exact row groups and reproducible names.

Spark's own writer controls neither: it puts a random number into each name and ends a row group by an estimate. Here
each file is written by one task under a temporary name and renamed when it is complete and on the disk; only files that
the manifest lists are part of the artefact. Pages carry the checksums of the format, which readers verify.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.column_digest import column_digest
from pipelines.durable import sync
from pipelines.manifest import File, RowGroup, describe, footer_sha256_of
from pipelines.records import IMAGE, ROWS, THUMBNAIL
from pipelines.tables.arrow import runs

FILE = "file"  # the column with the name of the file that a row goes to
GROUP = "group"  # the column whose changes end row groups, where the number of rows alone does not
_REPORT_SCHEMA = "entry string"
_ROWS_PER_FILE = 1_000_000


def in_files(
    rows: DataFrame, *, num_rows: int, key: Sequence[str], folder: str = ROWS, rows_per_file: int = _ROWS_PER_FILE
) -> DataFrame:
    """Add `file`, and sort the rows into the order in which they are stored; both depend on the key alone.

    Args:
        num_rows: their approximate number, which sets the number of files.
        key: the columns that identify a row; the first begins with eight hex digits, such as an `image_id`.
    """
    num_files = max(1, -(-num_rows // rows_per_file))
    leading = F.conv(F.substring(key[0], 1, 8), 16, 10).cast("long")
    file = F.concat(F.lit(f"{folder}/"), F.lpad((leading % num_files).cast("string"), 6, "0"))
    return rows.withColumn(FILE, file).repartition(num_files, FILE).sortWithinPartitions(FILE, *key)


def write_files(
    frame: DataFrame, folder: Path, *, schema: pa.Schema, rows_per_group: int, with_digests: bool = False
) -> list[File]:
    """Write one file per value of the column `file`, and return the files' manifest entries, sorted by path.

    Args:
        frame: columns of the schema and `file` (the file's name without suffix). The rows of a file are neighbours in
            one partition, in the order in which they are stored. Where there is a column `group` that is not null, row
            groups end where it changes, and only there.
        folder: the folder of the files; every executor can write there.
        schema: the Arrow schema of the files; its metadata is stored.
        rows_per_group: number of rows of each row group except the last of a file.
        with_digests: the manifest entries have the digests of all columns but the pictures, for each row group.
    """
    names = [*schema.names, FILE, *({GROUP} & set(frame.columns))]

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        files = write_runs(batches, folder, schema=schema, rows_per_group=rows_per_group, with_digests=with_digests)
        entries = [file.model_dump_json() for file in files]
        yield pa.RecordBatch.from_pydict({"entry": pa.array(entries, pa.string())})

    rows = frame.select(*names).mapInArrow(write, _REPORT_SCHEMA).collect()
    return sorted((File.model_validate_json(row["entry"]) for row in rows), key=lambda file: file.path)


def write_table(table: pa.Table, folder: Path, name: str) -> File:
    """Write one small table from the driver as one file."""
    named = table.append_column(FILE, pa.array([name] * len(table), pa.string()))
    (file,) = write_runs(named.to_batches(), folder, schema=table.schema, rows_per_group=max(1, len(table)))
    return file


def remove_unlisted(folder: Path, files: Sequence[File]) -> None:
    """Remove the files below the folder that the manifest will not list, such as those of killed tasks."""
    listed = {folder / file.path for file in files}
    for path in folder.rglob("*"):
        if path.is_file() and path not in listed:
            path.unlink()


def write_runs(
    batches: Iterable[pa.RecordBatch],
    folder: Path,
    *,
    schema: pa.Schema,
    rows_per_group: int,
    bytes_per_group: int | None = None,
    with_digests: bool = False,
) -> Iterator[File]:
    """Write batches in order, on this machine; a new file begins where the column `file` changes.

    Args:
        bytes_per_group: a row group also ends with the batch that reaches this size, which bounds the memory where
            pictures are large.
        with_digests: as in `write_files`.
    """
    open_file: _OpenFile | None = None
    for name, rows in runs(batches, FILE):
        if open_file is None or open_file.name != name:
            if open_file is not None:
                yield open_file.close()
            open_file = _OpenFile(folder, name, schema, rows_per_group, bytes_per_group, with_digests=with_digests)
        for group, part in runs([rows], GROUP) if GROUP in rows.schema.names else [(None, rows)]:
            open_file.append(part, group)
    if open_file is not None:
        yield open_file.close()


class _OpenFile:
    """A Parquet file being written; rows are collected until a row group is full."""

    def __init__(
        self,
        folder: Path,
        name: str,
        schema: pa.Schema,
        rows_per_group: int,
        bytes_per_group: int | None,
        *,
        with_digests: bool,
    ) -> None:
        self.name = name
        self._folder, self._schema = folder, schema
        self._rows_per_group, self._bytes_per_group = rows_per_group, bytes_per_group
        self._path = folder / f"{name}.parquet"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._staged = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # Pictures are compressed already; a dictionary or statistics of them would only copy them. To compress
        # thumbnails would take a twentieth of the time of an ingestion, and save a third of their bytes.
        plain = [column for column in schema.names if column not in (IMAGE, THUMBNAIL)]
        self._writer = pq.ParquetWriter(
            self._staged,
            schema,
            compression={column: "ZSTD" if column in plain else "NONE" for column in schema.names},
            use_dictionary=plain,
            write_statistics=plain,
            write_page_checksum=True,
        )
        self._digested = plain if with_digests else []
        self._digests: list[tuple[tuple[str, int], ...]] = []  # of each row group
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._group: int | None = None

    def append(self, rows: pa.RecordBatch, group: int | None) -> None:
        """Add rows; rows of a `group` that is not null form one row group, whatever their number."""
        table = pa.Table.from_batches([rows]).select(self._schema.names).cast(self._schema)
        if group != self._group and self._waiting:
            self._flush(self._schema.empty_table())
        self._group = group
        if group is not None:
            self._waiting.append(table)
            self._num_waiting += len(table)
            return
        while self._num_waiting + len(table) >= self._rows_per_group:
            missing = self._rows_per_group - self._num_waiting
            self._flush(table.slice(0, missing))
            table = table.slice(missing)
        if len(table):
            self._waiting.append(table)
            self._num_waiting += len(table)
        if self._bytes_per_group is not None and sum(part.nbytes for part in self._waiting) >= self._bytes_per_group:
            self._flush(self._schema.empty_table())

    def _flush(self, last: pa.Table) -> None:
        group = pa.concat_tables([*self._waiting, last])
        self._waiting, self._num_waiting = [], 0
        self._writer.write_table(group, row_group_size=max(self._rows_per_group, len(group)))
        self._digests.append(tuple((name, column_digest(group.column(name))) for name in self._digested))

    def close(self) -> File:
        if self._waiting:
            self._flush(self._schema.empty_table())
        self._writer.close()
        # Before the name: a file that another attempt finds is whole, also after a loss of power.
        sync(self._staged)
        os.replace(self._staged, self._path)
        return describe_parquet(self._folder, self._path, self._digests)


def describe_parquet(folder: Path, path: Path, digests: Sequence[tuple[tuple[str, int], ...]] = ()) -> File:
    """The manifest entry of a Parquet file, its row groups from the footer.

    Args:
        digests: `RowGroup.digests` of each row group; none for a file without them.

    Raises:
        OSError, pa.ArrowException: it is not a complete Parquet file.
    """
    footer = pq.read_metadata(path)
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    return describe(
        folder,
        path,
        rows=footer.num_rows,
        row_groups=tuple(
            RowGroup(rows=group.num_rows, num_bytes=group.total_byte_size, digests=columns)
            for group, columns in zip(groups, digests or itertools.repeat(()), strict=False)
        ),
        footer=footer_sha256_of(path),
    )
