"""pipelines/split: dense labels, the asked share held out, the same for any partitioning."""

import pytest
from pyspark.sql import SparkSession

from pipelines.settings import SplitSettings, UserError
from pipelines.split import label_identities

pytestmark = pytest.mark.spark

NAMES = [f"person {index}" for index in range(200)]


def test_labels_are_dense_within_each_side(spark: SparkSession) -> None:
    table = spark.createDataFrame([(name,) for name in NAMES], "identity string")
    rows = label_identities(table, SplitSettings(val_fraction=0.1, test_fraction=0.05), seed=0).collect()
    by_side = {side: sorted(row["label"] for row in rows if row["split"] == side) for side in ("train", "val", "test")}
    assert by_side == {"train": list(range(170)), "val": list(range(20)), "test": list(range(10))}


def test_partitioning_changes_nothing(spark: SparkSession) -> None:
    table = spark.createDataFrame([(name,) for name in NAMES], "identity string")
    few, many = (
        {(r["identity"], r["split"], r["label"]) for r in label_identities(t, SplitSettings(), seed=3).collect()}
        for t in (table.repartition(1), table.repartition(7))
    )
    assert few == many


def test_holding_out_everybody_is_one_clear_line(spark: SparkSession) -> None:
    table = spark.createDataFrame([("a",), ("b",)], "identity string")
    with pytest.raises(UserError, match="val_fraction"):
        label_identities(table, SplitSettings(val_fraction=0.5, test_fraction=0.5), seed=0)
