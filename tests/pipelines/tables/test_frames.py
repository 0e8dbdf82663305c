"""pipelines/tables/frames: row numbers follow the digests that Python sorts; only small tables are broadcast."""

import hashlib

import pytest
from pyspark.sql import SparkSession

from pipelines.tables import frames
from pipelines.tables.frames import cached_broadcast, with_row_number

pytestmark = pytest.mark.spark

NAMES = [f"person {index}" for index in range(200)]


def test_row_numbers_are_the_order_of_the_seeded_digest(spark: SparkSession) -> None:
    table = spark.createDataFrame([(name,) for name in NAMES], "identity string")
    numbered = with_row_number(table, "identity", seed=7, name="number").collect()
    expected = sorted(NAMES, key=lambda name: hashlib.sha256(f"7|{name}".encode()).hexdigest())
    assert {row["number"]: row["identity"] for row in numbered} == dict(enumerate(expected))


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
