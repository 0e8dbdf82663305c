"""pipelines/batches: the runs are those of itertools, batch by batch."""

import itertools
import operator

import numpy as np
import pyarrow as pa

from pipelines.batches import runs


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
