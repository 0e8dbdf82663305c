"""Columns of embeddings as matrices and back, without a Python object per number (pure)."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def to_matrix(column: pa.Array) -> NDArray[np.float32]:
    """Lists of D floats each, (N, D).

    Raises:
        ValueError: they are not equally long, so that not one model made them.
    """
    if not len(column):
        return np.empty((0, 0), np.float32)
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    # A ragged column may by chance have the right number of values.
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) != 1:
        raise ValueError(f"embeddings of {lengths.tolist()} dimensions lie in one column")
    return values.reshape(len(column), -1)


def to_lists(vectors: NDArray[np.float32]) -> pa.Array:
    """(N, D) as lists of D floats."""
    count, dimensions = vectors.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * dimensions)
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel()))
