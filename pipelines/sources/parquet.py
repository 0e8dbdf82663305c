"""Images as rows of Parquet files: bytes, or struct<bytes, path> as Hugging Face `datasets` writes them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.settings import UserError
from pipelines.sources import storage
from pipelines.sources.entry import INSIDE, Break, Container, Part, Portion, RawImage, held, lost
from pipelines.sources.headings import find_column
from pipelines.sources.identities import identity_of
from pipelines.sources.locate import Found, find
from pipelines.sources.partitions import partition_values
from pipelines.sources.settings import ParquetSettings

SUFFIXES = (".parquet",)

_IDENTITY_COLUMNS = ("identity", "label", "class", "person", "labels")
_ROWS_AT_ONCE = 32  # pictures may be large, so a row group is not decoded at once


def containers(settings: ParquetSettings) -> Iterator[Found]:
    """The Parquet files that the path names."""
    return find(settings, SUFFIXES)


def column_names(settings: ParquetSettings) -> list[str]:
    """The columns of the first file; empty where it cannot be read."""
    try:
        first = next(part for part in containers(settings) if isinstance(part, Container))
        with storage.open_binary(first.path) as stream, pq.ParquetFile(stream) as file:
            return list(file.schema_arrow.names)
    except (OSError, StopIteration, UserError, pa.ArrowException):
        return []


def scan(container: Container, settings: ParquetSettings) -> Iterator[Part]:
    """One portion per row group, from the footer alone."""
    try:
        with storage.open_binary(container.path) as stream, pq.ParquetFile(stream) as file:
            if reason := _unusable(file.schema_arrow, settings, container.path):
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
            if file.num_row_groups < portion.stop or _unusable(file.schema_arrow, settings, portion.container):
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
    schema = file.schema_arrow
    image, identity = _image_column(schema, settings), _identity_key(schema, settings, portion.container)
    of_all = None
    if identity is not None and identity not in schema.names:
        of_all, identity = identity_of(partition_values(portion.container)[identity]), None
    to_identity = _to_identity(schema, identity)
    groups = list(range(portion.start, portion.stop))
    columns = [image] if identity is None else [image, identity]
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=groups, columns=columns):
        images = batch.column(image)
        if pa.types.is_struct(images.type):
            images = images.field("bytes")
        identities = [of_all] * len(batch) if identity is None else map(to_identity, _values(batch.column(identity)))
        yield from zip(images.to_pylist(), identities, strict=True)


def _values(column: pa.Array) -> list[Any]:
    """The values of a column, text as bytes, since text of a damaged page need not be UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    values: list[Any] = column.to_pylist()
    return values


def _unusable(schema: pa.Schema, settings: ParquetSettings, path: str) -> str | None:
    """The reason that a file of these columns cannot be read; None if it can."""
    has = ", ".join(schema.names)
    image = _image_column(schema, settings)
    if image not in schema.names:
        return f"it has no column {settings.image_column}, only {has}; set source.image_column"
    kind = schema.field(image).type
    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return f"its column {image} is of type {kind}, not bytes; set source.image_column"
    wanted = settings.identity_column
    if wanted and _identity_key(schema, settings, path) is None:
        return f"it has no column {wanted}, only {has}; set source.identity_column"
    return None


def _image_column(schema: pa.Schema, settings: ParquetSettings) -> str:
    return find_column(schema.names, (settings.image_column,)) or settings.image_column


def _identity_key(schema: pa.Schema, settings: ParquetSettings, path: str) -> str | None:
    """The column of the identity, or the key `identity=` of a folder: Spark's partitionBy moves a column there."""
    wanted = (settings.identity_column,) if settings.identity_column else _IDENTITY_COLUMNS
    return find_column([*schema.names, *partition_values(path)], wanted)


def _to_identity(schema: pa.Schema, column: str | None) -> Callable[[Any], str | None]:
    """The function that turns a value into an identity; names of Hugging Face's class labels are in the metadata."""
    names = _class_names(schema, column)
    taken = frozenset(map(identity_of, names))

    def to_identity(value: Any) -> str | None:
        identity = identity_of(value)
        if not names or identity is None or isinstance(value, bytes) or not identity.isdecimal():
            return identity
        number = int(identity)
        if number < len(names):
            return identity_of(names[number])
        # A number without a name stands for itself, unless a class has that name.
        return None if identity in taken else identity

    return to_identity


def _class_names(schema: pa.Schema, column: str | None) -> list[Any]:
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        feature: Any = info.get("info", {}).get("features", {}).get(column, {})
    except (ValueError, AttributeError):
        return []
    while isinstance(feature, dict) and "names" not in feature and "feature" in feature:  # of a list of labels
        feature = feature["feature"]
    feature = feature[0] if isinstance(feature, list) and feature else feature
    names = feature.get("names") if isinstance(feature, dict) else None
    return names if isinstance(names, list) else []


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
