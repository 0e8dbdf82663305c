"""pipelines/identity: groups that name two people, and people with too few pictures."""

import pytest
from pyspark.sql import SparkSession

from pipelines.identity import conflicting_groups, large_identities

pytestmark = pytest.mark.spark


def test_only_groups_with_two_names_conflict(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("g1", "ann"), ("g1", "ann"), ("g2", "ann"), ("g2", "bob"), (None, "ann"), (None, "bob")],
        "group_id string, identity string",
    )
    assert [row["group_id"] for row in conflicting_groups(rows).collect()] == ["g2"]


def test_an_identity_is_large_from_the_minimum_on(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("ann",)] * 3 + [("bob",)] * 2 + [("eve",)], "identity string")
    large = {row["identity"] for row in large_identities(rows, min_images=2).collect()}
    assert large == {"ann", "bob"}
