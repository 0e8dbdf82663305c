"""pipelines/clean: the first broken rule is the reason, and what is unknown is bad."""

from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.clean import RULES, CleanSettings, clean

GOOD: dict[str, Any] = {
    "identity": "ann",
    "decode": "ok",
    "width": 100,
    "height": 120,
    "brightness": 120.0,
    "contrast": 50.0,
    "entropy": 7.0,
    "blur": 500.0,
}
SCHEMA = (
    "identity string, decode string, width int, height int, brightness double, contrast double, "
    "entropy double, blur double"
)
BROKEN = [
    ({"decode": "truncated"}, "truncated"),
    ({"decode": "corrupt", "width": None, "height": None, "blur": None}, "corrupt"),
    ({"identity": None}, "no_identity"),
    ({"width": 31}, "too_small"),
    ({"height": 31}, "too_small"),
    ({"width": None}, "too_small"),
    ({"width": 361}, "too_long"),
    ({"brightness": 9.9}, "dark"),
    ({"brightness": 245.1}, "bright"),
    ({"contrast": 7.9}, "flat"),
    ({"entropy": None}, "flat"),
    ({"blur": 29.9}, "blurry"),
    ({"blur": None}, "blurry"),
    ({"blur": 0.0, "brightness": 0.0}, "dark"),
    ({}, None),
    ({"width": 360, "height": 120}, None),
    ({"width": 32, "height": 32}, None),
]

pytestmark = pytest.mark.spark


def test_each_record_gets_the_first_rule_it_breaks(spark: SparkSession) -> None:
    rows = [{**GOOD, **change} for change, _ in BROKEN]
    records = spark.createDataFrame([tuple(row.values()) for row in rows], SCHEMA)
    reasons = [row["reason"] for row in clean(records, CleanSettings()).collect()]
    assert reasons == [reason for _, reason in BROKEN]


def test_every_rule_has_a_case_here() -> None:
    assert {rule.name for rule in RULES} <= {reason for _, reason in BROKEN}


def test_a_threshold_moves_without_touching_the_records(spark: SparkSession) -> None:
    records = spark.createDataFrame([tuple(GOOD.values())], SCHEMA)
    assert clean(records, CleanSettings(min_blur=501)).first()["reason"] == "blurry"
