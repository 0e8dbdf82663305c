"""pipelines/tables/frames: row numbers follow the digests that Python sorts; only small tables are broadcast."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.tables import frames
from pipelines.tables.frames import cached_broadcast, read_parquet, with_row_number

pytestmark = pytest.mark.spark

NAMES = [f"person {index}" for index in range(200)]


def test_row_numbers_are_the_order_of_the_seeded_digest(spark: SparkSession) -> None:
    table = spark.createDataFrame([(name,) for name in NAMES], "identity string")
    numbered = with_row_number(table, "identity", seed=7, name="number").collect()
    expected = sorted(NAMES, key=lambda name: hashlib.sha256(f"7|{name}".encode()).hexdigest())
    assert {row["number"]: row["identity"] for row in numbered} == dict(enumerate(expected))


# Of globs, of Hadoop's own notation, of addresses, and of folders that stand for partitions.
NASTY = [
    "data[1]",
    "a{b,c}",
    "*",
    "?",
    "a\\b",
    "#2",
    "%20",
    "a:b",
    "$x",
    "'q'",
    "a^b",
    "[^a]",
    "k=1",
    " a ",
    "é",
    "\\[",
    "[]",
    "data[1]: é #2 {a,b} 100%20 q'\"$x;k=v ~ *?",
]


@pytest.mark.parametrize("name", NASTY)
def test_files_and_a_folder_are_read_by_their_names_to_the_letter(
    name: str, spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / name / "rows"
    folder.mkdir(parents=True)
    files = [folder / f"{number:06d}.parquet" for number in range(3)]
    for number, file in enumerate(files):
        pq.write_table(pa.table({"row": [2 * number, 2 * number + 1]}), file)
    for paths in ([folder], files):
        assert sorted(row["row"] for row in read_parquet(spark, *paths).collect()) == list(range(6))


@pytest.mark.parametrize(("num_rows", "is_broadcast"), [(3, True), (4, False)])
def test_a_table_above_the_limit_is_not_broadcast(
    num_rows: int, is_broadcast: bool, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_MAX_BROADCAST_ROWS", 3)
    table = cached_broadcast(spark.range(num_rows))
    assert table.storageLevel.useMemory
    assert table.count() == num_rows
    plan = spark.range(9).join(table, on="id")._jdf.queryExecution().optimizedPlan().toString()
    assert ("broadcast" in plan) == is_broadcast
