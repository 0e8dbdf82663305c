"""pipelines/column_digest: of the values alone, and of all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.column_digest import column_digest

COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (pa.string(), ["a", "", None, "José", "a"]),
    "bytes": (pa.binary(), [b"\0", b"", None, b"abc", b"\0\0"]),
    "int64": (pa.int64(), [0, -1, None, 2**62, 0]),
    "int32": (pa.int32(), [0, -1, None, 7, 0]),
    "float": (pa.float32(), [0.0, -1.5, None, float("inf"), 0.25]),
    "bool": (pa.bool_(), [True, False, None, True, True]),
    "list": (pa.list_(pa.float32()), [[1.0, 2.0], [], None, [3.0], [1.0]]),
    "fixed": (pa.list_(pa.float32(), 2), [[1.0, 2.0], [2.0, 1.0], None, [0.0, 0.0], [3.0, None]]),
    "nested": (pa.list_(pa.list_(pa.int64())), [[[1], [2, 3]], [], None, [[]], [[1, 2, 3]]]),
}
EVERY = pytest.mark.parametrize("name", COLUMNS)


def column(name: str, values: list[Any] | None = None) -> pa.ChunkedArray:
    kind, plain = COLUMNS[name]
    return pa.chunked_array([pa.array(plain if values is None else values, kind)])


@EVERY
def test_it_does_not_follow_how_the_values_lie_in_memory(name: str) -> None:
    kind, values = COLUMNS[name]
    before = pa.array([*values[:2], *values], kind)
    forms = [
        pa.chunked_array([before.slice(2)]),
        pa.chunked_array([pa.array([one], kind) for one in values]),
        pa.chunked_array([pa.array(values[:3], kind), pa.array([], kind), pa.array(values[3:], kind)]),
    ]
    assert {column_digest(one) for one in forms} == {column_digest(column(name))}


@EVERY
def test_it_is_the_same_after_a_way_through_a_file(name: str, tmp_path: Path) -> None:
    table = pa.table({"values": column(name)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    assert column_digest(pq.read_table(tmp_path / "t.parquet")["values"]) == column_digest(column(name))


@EVERY
def test_it_follows_every_value_its_place_and_every_null(name: str) -> None:
    _, values = COLUMNS[name]
    others = [values[:-1], [*values, None], values[::-1], [None, *values[1:]], [*values[:2], values[0], *values[3:]]]
    found = [column_digest(column(name, other)) for other in [values, *others]]
    assert len(set(found)) == len(found)


def test_it_follows_the_type_and_where_one_value_ends() -> None:
    texts = [["ab", "c"], ["a", "bc"], ["abc", ""]]
    lists = [[[1.0, 2.0], [3.0]], [[1.0], [2.0, 3.0]]]
    columns = [pa.array(text) for text in texts] + [pa.array(text, pa.binary()) for text in texts]
    columns += [pa.array(one, pa.list_(pa.float32())) for one in lists]
    columns += [pa.array([0], kind) for kind in (pa.int64(), pa.int32(), pa.float64())]
    assert len({column_digest(pa.chunked_array([one])) for one in columns}) == len(columns)


def test_an_empty_column_has_a_digest() -> None:
    assert column_digest(column("text", [])) != column_digest(column("int64", []))
    assert column_digest(pa.chunked_array([], pa.string())) == column_digest(column("text", []))


def test_bytes_below_a_null_do_not_count() -> None:
    values = np.array([1, 2, 3])
    hidden = pa.array(values, mask=np.array([False, True, False]))
    assert column_digest(pa.chunked_array([hidden])) == column_digest(column("int64", [1, None, 3]))
