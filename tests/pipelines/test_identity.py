"""pipelines/identity: names that are one person, pictures of somebody else, people with too few pictures."""

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.identity import large_identities, merged_names, name_rows, outliers, reject_outliers
from pipelines.settings import IdentitySettings, UserError

pytestmark = pytest.mark.spark

APPLY = IdentitySettings(min_margin=None, merge_prominence=0.7, merge="apply")


@pytest.fixture(scope="module")
def merges(spark: SparkSession) -> DataFrame:
    close = [("ann", "anna", 0.9), ("anna", "zoe", 0.7), ("bob", "rob", 0.69), ("eve", "eva", 0.8)]
    return spark.createDataFrame(close, "left string, right string, prominence double")


@pytest.fixture(scope="module")
def fits(spark: SparkSession) -> DataFrame:
    rows = [
        ("near", "ann", 0.8, "bob", 0.1),
        ("far", "ann", 0.2, "bob", 0.1),
        ("between", "ann", 0.6, "bob", 0.55),
        ("own", "ann", 0.6, "anna", 0.7),
        ("alone", "ann", 0.6, None, None),
    ]
    columns = "image_id string, identity string, own_cosine double, other_identity string, other_cosine double"
    return spark.createDataFrame(rows, columns)


def _merged(merges: DataFrame, settings: IdentitySettings, tmp_path: Path) -> dict[str, str]:
    names = merged_names(merges, settings, scratch=tmp_path)
    return {row["identity"]: row["merged_into"] for row in names.collect()} if names is not None else {}


def test_names_that_are_tied_are_merged_into_the_smallest(merges: DataFrame, tmp_path: Path) -> None:
    assert _merged(merges, APPLY, tmp_path) == {
        **dict.fromkeys(["ann", "anna", "zoe"], "ann"),
        "eva": "eva",
        "eve": "eva",
    }


def test_what_is_proposed_merges_nothing(merges: DataFrame, tmp_path: Path) -> None:
    assert not _merged(merges, IdentitySettings(merge_prominence=0.7), tmp_path)


def test_a_row_is_taken_for_its_merged_identity_or_else_its_own(
    spark: SparkSession, merges: DataFrame, tmp_path: Path
) -> None:
    rows = spark.createDataFrame([("zoe",), ("bob",), (None,)], "identity string")
    named = name_rows(rows, merged_names(merges, APPLY, scratch=tmp_path)).collect()
    assert {(row["identity"], row["merged_into"], row["name"]) for row in named} == {
        ("zoe", "ann", "ann"),
        ("bob", None, "bob"),
        (None, None, None),
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_own_cosine": 0.3}, {"far": ("own_cosine", 0.2, 0.3)}),
        ({"min_margin": 0.0}, {"own": ("margin", -0.1, 0.0)}),
        (
            {"min_own_cosine": 0.3, "min_margin": 0.1},
            {"far": ("own_cosine", 0.2, 0.3), "between": ("margin", 0.05, 0.1), "own": ("margin", -0.1, 0.1)},
        ),
    ],
)
def test_an_outlier_is_below_the_least_cosine_or_margin(
    fits: DataFrame, settings: dict[str, float], expected: dict[str, tuple[str, float, float]]
) -> None:
    found = outliers(fits, None, IdentitySettings.model_validate({"min_margin": None} | settings))
    assert found is not None
    rows = {row["image_id"]: (row["measurement"], row["value"], row["limit"]) for row in found.collect()}
    assert rows == {name: (told[0], pytest.approx(told[1]), told[2]) for name, told in expected.items()}


def test_between_names_of_one_person_there_is_no_margin(fits: DataFrame, merges: DataFrame, tmp_path: Path) -> None:
    settings = APPLY.model_copy(update={"min_margin": 0.1})
    found = outliers(fits, merged_names(merges, settings, scratch=tmp_path), settings)
    assert found is not None
    assert {row["image_id"] for row in found.collect()} == {"between"}


def test_only_fit_rows_of_that_identity_become_outliers(spark: SparkSession, fits: DataFrame) -> None:
    rows = spark.createDataFrame(
        [("far", "ann", None), ("far", "bob", None), ("far", "ann", "dark"), ("near", "ann", None)],
        "image_id string, identity string, reason string",
    ).selectExpr("*", "string(null) AS measurement", "double(null) AS value", "double(null) AS limit")
    found = reject_outliers(rows, outliers(fits, None, IdentitySettings(min_own_cosine=0.3))).collect()
    assert sorted((row["image_id"], row["identity"], str(row["reason"]), row["value"]) for row in found) == [
        ("far", "ann", "dark", None),
        ("far", "ann", "outlier", 0.2),
        ("far", "bob", "None", None),
        ("near", "ann", "None", None),
    ]


@pytest.mark.parametrize("settings", [{"min_margin": 0.1}, {"min_own_cosine": 0.1}, {"merge": "apply"}], ids=str)
def test_cosines_that_are_asked_for_and_unknown_are_the_users_mistake(
    settings: dict[str, object], tmp_path: Path
) -> None:
    asked = IdentitySettings.model_validate(settings)
    with pytest.raises(UserError, match=r"curate.identities.\w+=(0\.\d|apply).* needs embeddings"):
        outliers(None, merged_names(None, asked, scratch=tmp_path), asked)


def test_the_defaults_ask_nothing_where_there_are_no_embeddings() -> None:
    assert outliers(None, None, IdentitySettings()) is None


def test_a_name_is_large_from_the_minimum_on(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("ann",)] * 3 + [("bob",)] * 2 + [("eve",)], "name string")
    large = {row["name"] for row in large_identities(rows, min_images=2).collect()}
    assert large == {"ann", "bob"}
