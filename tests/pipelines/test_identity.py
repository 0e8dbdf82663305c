"""pipelines/identity: names that are taken for one, pictures far from their name, and names with too few pictures."""

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.identity import (
    IdentitySettings,
    large_identities,
    merge_proposals,
    merged_names,
    name_rows,
    outliers,
    reject_outliers,
)
from pipelines.settings import UserError

pytestmark = pytest.mark.spark

FIT_ROWS = "image_id string, identity string, own_cosine float, other_identity string, other_cosine float"


@pytest.fixture
def merges(spark: SparkSession) -> DataFrame:
    rows = [("ann", "anna", 0.9), ("anna", "anne", 0.8), ("bob", "rob", 0.7), ("cid", "sid", 0.2)]
    return spark.createDataFrame(rows, "left string, right string, cosine float")


@pytest.fixture
def fits(spark: SparkSession) -> DataFrame:
    rows = [
        ("good", "ann", 0.9, "bob", 0.2),
        ("far", "ann", 0.1, "bob", -0.3),
        ("wrong", "ann", 0.5, "bob", 0.7),
        ("same", "ann", 0.5, "anna", 0.7),
        ("alone", "bob", 0.6, None, None),
    ]
    return spark.createDataFrame(rows, FIT_ROWS)


def test_an_identity_is_large_from_the_minimum_on(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("ann",)] * 3 + [("bob",)] * 2 + [("eve",)], "name string")
    large = {row["name"] for row in large_identities(rows, min_images=2).collect()}
    assert large == {"ann", "bob"}


def test_names_that_hang_together_are_taken_for_the_smallest_of_them(merges: DataFrame, tmp_path: Path) -> None:
    names = merged_names(merges, IdentitySettings(merge_cosine=0.7, merge="apply"), scratch=tmp_path)
    assert names is not None
    found = {row["identity"]: row["merged_into"] for row in names.collect()}
    assert found == {"ann": "ann", "anna": "ann", "anne": "ann", "bob": "bob", "rob": "bob"}


def test_a_merge_that_is_only_proposed_names_nobody_anew(merges: DataFrame, tmp_path: Path) -> None:
    settings = IdentitySettings(merge_cosine=0.75)
    assert merged_names(merges, settings, scratch=tmp_path) is None
    assert merge_proposals(merges, settings).count() == 2


def test_a_row_is_taken_for_what_its_name_was_merged_into(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("anna",), ("bob",), (None,)], "identity string")
    names = spark.createDataFrame([("anna", "ann")], "identity string, merged_into string")
    found = {row["identity"]: (row["merged_into"], row["name"]) for row in name_rows(rows, names).collect()}
    assert found == {"anna": ("ann", "ann"), "bob": (None, "bob"), None: (None, None)}


def test_outliers_are_told_with_what_they_go_by(fits: DataFrame) -> None:
    far = outliers(fits, None, IdentitySettings(min_own_cosine=0.3, min_margin=0.0))
    assert far is not None
    found = {row["image_id"]: (row["measurement"], round(row["value"], 5), row["limit"]) for row in far.collect()}
    assert found == {
        "far": ("own_cosine", 0.1, 0.3),
        "wrong": ("margin", -0.2, 0.0),
        "same": ("margin", -0.2, 0.0),
    }


def test_between_names_that_are_taken_for_one_there_is_no_margin(spark: SparkSession, fits: DataFrame) -> None:
    names = spark.createDataFrame([("ann", "ann"), ("anna", "ann")], "identity string, merged_into string")
    far = outliers(fits, names, IdentitySettings(min_margin=0.0))
    assert far is not None
    assert {row["image_id"] for row in far.collect()} == {"wrong"}


def test_what_was_rejected_before_keeps_its_reason(spark: SparkSession, fits: DataFrame) -> None:
    schema = "image_id string, identity string, reason string, measurement string, value double, limit double"
    rows = spark.createDataFrame(
        [("far", "ann", "blurry", "blur", 3.0, 30.0), ("wrong", "ann", None, None, None, None)], schema
    )
    found = reject_outliers(rows, outliers(fits, None, IdentitySettings(min_own_cosine=0.3, min_margin=0.0)))
    assert {row["image_id"]: row["reason"] for row in found.collect()} == {"far": "blurry", "wrong": "outlier"}


@pytest.mark.parametrize("settings", [IdentitySettings(min_margin=0.0), IdentitySettings(min_own_cosine=0.5)])
def test_a_threshold_without_embeddings_is_the_users_error(settings: IdentitySettings) -> None:
    with pytest.raises(UserError, match=r"^curate\.identities\.min_.*needs embeddings, and this run makes none"):
        outliers(None, None, settings)
