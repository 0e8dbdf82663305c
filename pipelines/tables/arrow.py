"""Arrow batches and columns, without Spark: runs of equal values, and columns of embeddings as matrices."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.arrays import Vectors


def runs(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[tuple[Any, pa.RecordBatch]]:
    """Cut batches where the value of a column changes.

    Yields:
        Each value and its rows; a run ends with its batch, and a value that goes on begins another in the next.
    """
    for batch in batches:
        if batch.num_rows == 0:
            continue
        encoded = pc.run_end_encode(batch.column(column))
        start = 0
        for value, stop in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
            yield value, batch.slice(start, stop - start)
            start = stop


def to_matrix(column: pa.Array) -> Vectors:
    """Convert lists of D floats each to a matrix (N, D), without a Python object per number.

    Raises:
        ValueError: the lists are not equally long, so that more than one model made them.
    """
    if not len(column):
        return np.empty((0, 0), np.float32)
    values: Vectors = column.flatten().to_numpy(zero_copy_only=False)
    # A ragged column may by chance have the right number of values.
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) != 1:
        raise ValueError(f"embeddings of {lengths.tolist()} dimensions lie in one column")
    return values.reshape(len(column), -1)


def to_lists(vectors: Vectors) -> pa.Array:
    """Convert a matrix (N, D) to lists of D floats, without a Python object per number."""
    count, dimensions = vectors.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * dimensions)
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel()))
