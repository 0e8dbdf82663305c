"""pipelines/dedup/groups: components arrive whole, whatever batches and partitions they lie in."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from pipelines.dedup.groups import whole_components


def _batches(components: list[str], size: int) -> Iterator[pa.RecordBatch]:
    table = pa.table({"component": components, "place": range(len(components))})
    yield from table.to_batches(max_chunksize=size)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("num_rows", [1, 10, 10_000])
def test_components_are_never_cut(size: int, num_rows: int) -> None:
    lengths = np.random.default_rng(size).integers(1, 30, 40)
    components = [f"{number:02d}" for number, length in enumerate(lengths) for _ in range(length)]
    tables = list(whole_components(_batches(components, size), num_rows=num_rows))
    assert pa.concat_tables(tables).column("place").to_pylist() == list(range(len(components)))
    seen = [set(table.column("component").to_pylist()) for table in tables]
    assert sum(map(len, seen)) == len(lengths), "no component lies in two tables"
    assert size == 1000 or num_rows == 10_000 or len(tables) > 5


def test_nothing_gives_nothing() -> None:
    assert not list(whole_components(iter(())))
