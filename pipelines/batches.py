"""Record batches whose rows are in order of a column, cut where its value changes."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def runs(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[tuple[Any, pa.RecordBatch]]:
    """Each value and its rows in one batch; a value goes on in the next batch as a run of its own."""
    for batch in batches:
        if batch.num_rows == 0:
            continue
        encoded = pc.run_end_encode(batch.column(column))
        start = 0
        for value, stop in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
            yield value, batch.slice(start, stop - start)
            start = stop
