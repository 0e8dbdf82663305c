"""Dataset columns beside the standard ones: read from a row group, moved with the pixels, collated into extras.

The form of an extra follows from the column's Arrow type: numbers and lists of a fixed size become a tensor, lists of
different lengths a `Ragged`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipelines.columns import DatasetColumn
from pipelines.settings import UserError
from training.feed.batch import Extra, Ragged
from training.feed.geometry import Maps, are_mirrored, move_boxes, move_points

Values = npt.NDArray[np.generic]

MOVES: dict[str, Callable[..., Values]] = {"boxes": move_boxes, "points": move_points}


@dataclass(frozen=True)
class Cells:
    """The values of one column for R rows of a row group."""

    values: Values  # (N, *shape) of all rows, one behind the other
    offsets: list[int]  # R + 1: those of row r are values[offsets[r] : offsets[r + 1]]

    def of(self, row: int) -> Values:
        return self.values[self.offsets[row] : self.offsets[row + 1]]


def read_cells(column: DatasetColumn, array: pa.Array) -> Cells:
    """The values of a column of R rows. A list that is null is an empty one, any other float that is null is NaN.

    Raises:
        UserError: they are not of the column's shape, no numbers, or integers that are null.
    """
    if pa.types.is_list(array.type):
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        items, rest = np.divmod(lengths, _size(column))
        if rest.any():
            raise UserError(f"column {column.name} has a list of {lengths[rest > 0][0]} numbers, not of {column.shape}")
        offsets = [0, *np.cumsum(items).tolist()]
        return Cells(_numbers(column, array.flatten()).reshape(-1, *column.shape), offsets)
    if pa.types.is_fixed_size_list(array.type):
        values = _numbers(column, _filled(array)).reshape(len(array), *column.shape)
    else:
        values = _numbers(column, array)
    return Cells(values, list(range(len(array) + 1)))


def collate(column: DatasetColumn, parts: Sequence[Values], maps: Maps | None) -> Extra:
    """The extra of B pictures.

    Args:
        parts: the values (n, *shape) of each picture.
        maps: (B, 2, 3) by which the pixels of each picture were moved; needed where the column is geometric.
    """
    counts = np.array([len(part) for part in parts], np.int64)
    values = np.concatenate(parts)
    if column.geometry is not None:
        assert maps is not None
        values = _moved(column, values, np.repeat(maps, counts, axis=0))
    if pa.types.is_list(column.type):
        return Ragged(torch.from_numpy(values), torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])))
    return torch.from_numpy(values)


def _moved(column: DatasetColumn, values: Values, maps: Maps) -> Values:
    """The values (N, *shape) after their pictures were moved by maps (N, 2, 3)."""
    assert column.geometry is not None
    moved = MOVES[column.geometry](values, maps)
    if column.mirror is not None:
        mirrored = are_mirrored(maps)
        moved[mirrored] = moved[mirrored][..., list(column.mirror), :]
    return moved


def _size(column: DatasetColumn) -> int:
    return int(np.prod(column.shape, dtype=np.int64))


def _filled(array: pa.Array) -> pa.Array:
    """The numbers of lists of a fixed size, with nulls for those of a list that is null."""
    size = array.type.list_size
    places = pa.array(np.arange(array.offset * size, (array.offset + len(array)) * size))
    is_valid = pa.array(np.repeat(array.is_valid().to_numpy(zero_copy_only=False), size))
    return array.values.take(pc.if_else(is_valid, places, None))


def _numbers(column: DatasetColumn, array: pa.Array) -> Values:
    kind = array.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise UserError(f"column {column.name} holds {kind}, and only numbers and lists of them can be fed")
    if array.null_count and pa.types.is_integer(kind):
        raise UserError(f"column {column.name} holds integers that are null, which no tensor can say")
    numbers: Values = array.to_numpy(zero_copy_only=False).astype(kind.to_pandas_dtype())
    return numbers
