"""Images as rows of Parquet files: bytes, or struct<bytes, path> as Hugging Face `datasets` writes them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources import storage
from pipelines.sources.entry import INSIDE, Break, Container, Part, Portion, RawImage, held, lost, printable
from pipelines.sources.locate import Found, find
from pipelines.sources.settings import ParquetSettings

SUFFIXES = (".parquet",)

_IDENTITY_COLUMNS = ("identity", "label", "class", "labels")
_ROWS_AT_ONCE = 32  # pictures may be large, so a row group is not decoded at once


def containers(settings: ParquetSettings) -> Iterator[Found]:
    """The Parquet files that the path names."""
    return find(settings, SUFFIXES)


def scan(container: Container, settings: ParquetSettings) -> Iterator[Part]:
    """One portion per row group, from the footer alone."""
    try:
        with storage.open_binary(container.path) as stream, pq.ParquetFile(stream) as file:
            if reason := _unusable(file.schema_arrow, settings):
                yield Break(container.path, 0, container.num_bytes, reason)
                return
            for group in range(file.num_row_groups):
                facts = file.metadata.row_group(group)
                if facts.num_rows:
                    yield Portion(container.path, group, group + 1, facts.num_rows, facts.total_byte_size)
    # pyarrow raises several classes of errors on other files.
    except (OSError, pa.ArrowException) as error:
        yield Break(container.path, 0, container.num_bytes, f"it is no readable Parquet file ({_first_line(error)})")


def read(portion: Portion, settings: ParquetSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The rows of one row group.

    Raises:
        OSError: the row group is damaged; the rows before the damage were yielded.
    """
    try:
        with storage.open_binary(portion.container) as stream, pq.ParquetFile(stream) as file:
            if file.num_row_groups < portion.stop or _unusable(file.schema_arrow, settings):
                raise OSError("the file has changed since the scan")
            first = sum(file.metadata.row_group(group).num_rows for group in range(portion.start))
            for row, (data, identity) in enumerate(_rows(file, portion, settings), first):
                source = f"{portion.container}{INSIDE}{row}"
                if data is None:
                    yield lost(source, identity)
                else:
                    yield held(data, source=source, identity=identity, max_bytes=max_bytes)
    except pa.ArrowException as error:
        raise OSError(str(error)) from error


def _rows(
    file: pq.ParquetFile, portion: Portion, settings: ParquetSettings
) -> Iterator[tuple[bytes | None, str | None]]:
    identity = _identity_column(file.schema_arrow, settings)
    to_text = _to_text(file.schema_arrow, identity)
    columns = [settings.image_column] if identity is None else [settings.image_column, identity]
    groups = list(range(portion.start, portion.stop))
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=groups, columns=columns):
        images = batch.column(settings.image_column)
        if pa.types.is_struct(images.type):
            images = images.field("bytes")
        identities = [None] * len(batch) if identity is None else map(to_text, _values(batch.column(identity)))
        yield from zip(images.to_pylist(), identities, strict=True)


def _values(column: pa.Array) -> list[Any]:
    """The values of a column, text as bytes, since text of a damaged page need not be UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    values: list[Any] = column.to_pylist()
    return values


def _unusable(schema: pa.Schema, settings: ParquetSettings) -> str | None:
    """The reason that a file of these columns cannot be read; None if it can."""
    has = ", ".join(schema.names)
    if settings.image_column not in schema.names:
        return f"it has no column {settings.image_column}, only {has}; set source.image_column"
    kind = schema.field(settings.image_column).type
    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return f"its column {settings.image_column} is of type {kind}, not bytes; set source.image_column"
    if settings.identity_column and settings.identity_column not in schema.names:
        return f"it has no column {settings.identity_column}, only {has}; set source.identity_column"
    return None


def _identity_column(schema: pa.Schema, settings: ParquetSettings) -> str | None:
    return settings.identity_column or next((name for name in _IDENTITY_COLUMNS if name in schema.names), None)


def _to_text(schema: pa.Schema, column: str | None) -> Callable[[Any], str | None]:
    """The function that turns a value into an identity; names of Hugging Face's class labels are in the metadata."""
    features: Any = {}
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info.get("info", {}).get("features", {}).get(column, {})
    except (ValueError, AttributeError):
        pass
    names = features.get("names") if isinstance(features, dict) else None

    def to_text(value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(names, list) and isinstance(value, int) and 0 <= value < len(names):
            return str(names[value])
        return printable(value) if isinstance(value, bytes) else str(value)

    return to_text


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
