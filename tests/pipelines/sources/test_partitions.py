"""pipelines/sources/partitions: the values in the names of folders are those that Spark wrote there."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.partitions import partition_values


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/faces/identity=alice/a.parquet", {"identity": "alice"}),
        ("/faces/date=2020-01-01/identity=Smith%2C%20Ann/a.parquet", {"date": "2020-01-01", "identity": "Smith, Ann"}),
        ("identity=__HIVE_DEFAULT_PARTITION__", {"identity": None}),
        ("identity=a=b", {"identity": "a=b"}),
        ("the%20id=1", {"the id": "1"}),
        ("identity=%FF", {"identity": "\\xff"}),
        ("=alice/b", {}),
        ("identity=", {"identity": ""}),
        ("/faces/alice/1.jpg", {}),
    ],
)
def test_a_part_with_an_equals_sign_is_key_and_value(path: str, values: dict[str, str | None]) -> None:
    assert partition_values(path) == values


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_value_that_was_escaped_comes_back(value: str) -> None:
    assert partition_values(f"faces/identity={quote(value, safe='')}/a.parquet") == {"identity": value}
