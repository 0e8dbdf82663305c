"""The columns of a dataset, in one table: shards, schema, card and feed loop over it.

The standard columns are in every dataset; the others are written where shard.columns names them, and fed where an
objective needs them. A new column is one `DatasetColumn`, in a file of its own, and one line of `COLUMNS`.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipelines.records import DIGEST, IMAGE, IMAGE_ID, LABEL
from pipelines.settings import UserError


@dataclass(frozen=True)
class DatasetColumn:
    """One column of a dataset: its place on disk, its origin, and its form in a batch."""

    name: str
    type: pa.DataType  # a list has different lengths, a list of fixed size has one value per place
    feature: str  # the Hugging Face name of the type of its values, or "image"
    meaning: str  # a line of the dataset card
    inputs: tuple[str, ...]  # the columns of the records, or of the placed decisions, that it is made from
    make: Callable[..., pa.Array] | None = None  # from the arrays of the inputs; None = the only input as it is
    # Of one item in a batch, such as (4,) of a box or (5, 2) of five landmarks; () = a number.
    shape: tuple[int, ...] = ()
    # Positions in the picture, in pixels of the upright picture, that move with its pixels when it is augmented:
    # "boxes" are left, top, right, bottom, counted from the picture's corner; "points" are x, y, counted from the
    # centre of its first pixel.
    geometry: Literal["boxes", "points"] | None = None
    mirror: tuple[int, ...] | None = None  # of points: the new order of an item's points in a mirrored picture


def _crc32(images: pa.Array) -> pa.Array:
    return pa.array([zlib.crc32(image.as_buffer()) for image in images], pa.int64())


_STANDARD = (
    DatasetColumn(IMAGE_ID, pa.string(), "string", "sha256 of the picture's bytes as found", (IMAGE_ID,)),
    DatasetColumn(LABEL, pa.int64(), "int64", "dense number of the identity within its split", (LABEL,)),
    # The bytes as found, or those of the aligned picture.
    DatasetColumn(IMAGE, pa.binary(), "image", "the encoded picture", (IMAGE,)),
    DatasetColumn(DIGEST, pa.int64(), "int64", "CRC-32 of the stored bytes", (IMAGE,), _crc32),
)

STANDARD = tuple(column.name for column in _STANDARD)
COLUMNS = {column.name: column for column in _STANDARD}


def dataset_columns(names: Sequence[str] = (), *, are_aligned: bool = False) -> tuple[DatasetColumn, ...]:
    """The standard columns, and those that are named.

    Args:
        are_aligned: the pictures will be stored aligned, which moves their pixels.

    Raises:
        UserError: there is no such column, or it holds positions in the pictures as found.
    """
    named = extra_columns(names)
    moved = [column.name for column in named if column.geometry is not None]
    if are_aligned and moved:
        raise UserError(
            f"shard.columns={list(names)}, and {moved[0]} holds positions in the picture as found, and "
            "shard.align_px moves its pixels; set shard.align_px=null, or drop the column"
        )
    return (*_STANDARD, *named)


def extra_columns(names: Sequence[str]) -> tuple[DatasetColumn, ...]:
    """The named columns, as far as they are not standard.

    Raises:
        UserError: there is no such column.
    """
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise UserError(f"{unknown[0]!r} is no column of a dataset; there are {', '.join(COLUMNS)}")
    return tuple(COLUMNS[name] for name in dict.fromkeys(names) if name not in STANDARD)


def dataset_schema(columns: Sequence[DatasetColumn]) -> pa.Schema:
    """The Arrow schema of the shards, with the features of Hugging Face as metadata."""
    features = {column.name: _feature(column) for column in columns}
    # The Hub's viewer looks under this key.
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(column.name, column.type) for column in columns], metadata=metadata)


def card_feature(column: DatasetColumn) -> dict[str, Any]:
    """The feature of a column, as the head of a dataset card has it."""
    key = "list" if is_list(column.type) else "dtype"
    return {"name": column.name, key: column.feature, **_length(column)}


def is_list(kind: pa.DataType) -> bool:
    """True of lists of different lengths and of lists of a fixed size."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _feature(column: DatasetColumn) -> dict[str, Any]:
    if column.feature == "image":
        return {"_type": "Image"}
    value = {"dtype": column.feature, "_type": "Value"}
    return {"feature": value, **_length(column), "_type": "List"} if is_list(column.type) else value


def _length(column: DatasetColumn) -> dict[str, int]:
    return {"length": column.type.list_size} if pa.types.is_fixed_size_list(column.type) else {}


DATASET = dataset_schema(dataset_columns())
