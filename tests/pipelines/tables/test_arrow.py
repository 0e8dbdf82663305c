"""pipelines/tables/arrow: the runs are those of itertools, batch by batch; matrices survive the way there and back."""

import itertools
import operator

import numpy as np
import pyarrow as pa
import pytest

from pipelines.tables.arrow import runs, to_lists, to_matrix


def test_every_run_of_a_batch_is_a_slice_of_it() -> None:
    values = np.sort(np.random.default_rng(0).integers(0, 9, 200))
    table = pa.table({"value": values, "place": np.arange(200)})
    batches = [pa.RecordBatch.from_pylist([], table.schema), *table.to_batches(max_chunksize=37)]
    found = [(value, part["place"].to_pylist()) for value, part in runs(batches, "value")]
    expected = []
    for batch in batches:
        rows = zip(batch["value"].to_pylist(), batch["place"].to_pylist(), strict=True)
        expected += [
            (value, [place for _, place in same]) for value, same in itertools.groupby(rows, key=operator.itemgetter(0))
        ]
    assert found == expected


@pytest.mark.parametrize("shape", [(5, 3), (1, 7), (0, 0)])
def test_a_matrix_comes_back_as_it_was(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    lists = to_lists(matrix)
    assert lists.to_pylist() == matrix.tolist()
    np.testing.assert_array_equal(to_matrix(lists), matrix)


def test_a_part_of_a_column_is_that_part() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(to_matrix(to_lists(matrix).slice(1, 2)), matrix[1:3])


def test_lists_of_unequal_length_are_refused() -> None:
    ragged = pa.array([[1.0], [1.0, 2.0, 3.0]], pa.list_(pa.float32()))
    with pytest.raises(ValueError, match=r"\[1, 3\] dimensions"):
        to_matrix(ragged)
