"""pipelines/clean: the first broken rule is the reason, and what is unknown is bad."""

from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession

from jobs.settings import compose
from pipelines.clean import RULES, clean
from pipelines.settings import CleanSettings, CurateSettings, Range, UserError

GOOD: dict[str, Any] = {
    "identity": "ann",
    "decode": "ok",
    "width": 100,
    "height": 120,
    "brightness": 120.0,
    "contrast": 50.0,
    "entropy": 7.0,
    "dominance": 0.1,
    "blur": 500.0,
    "num_faces": None,
    "warnings": 3,
}
SCHEMA = (
    "identity string, decode string, width int, height int, brightness double, contrast double, "
    "entropy double, dominance double, blur double, num_faces int, warnings int"
)
NOTHING = (None, None, None)
BROKEN = [
    ({"decode": "truncated"}, "truncated", NOTHING),
    ({"decode": "corrupt", "width": None, "height": None, "blur": None}, "corrupt", NOTHING),
    ({"identity": None}, "no_identity", NOTHING),
    ({"width": 31}, "too_small", ("side_px", 31, 32)),
    ({"height": 31}, "too_small", ("side_px", 31, 32)),
    ({"width": None}, "too_small", ("side_px", None, 32)),
    ({"width": 361}, "too_long", ("aspect_ratio", 361 / 120, 3)),
    ({"brightness": 9.9}, "dark", ("brightness", 9.9, 10)),
    ({"brightness": 245.1}, "bright", ("brightness", 245.1, 245)),
    ({"contrast": 7.9}, "flat", ("contrast", 7.9, 8)),
    ({"entropy": None}, "flat", ("entropy", None, 3)),
    ({"dominance": 0.76}, "one_colour", ("dominance", 0.76, 0.75)),
    ({"dominance": None}, "one_colour", ("dominance", None, 0.75)),
    ({"blur": 29.9}, "blurry", ("blur", 29.9, 30)),
    ({"blur": None}, "blurry", ("blur", None, 30)),
    ({"blur": 0.0, "brightness": 0.0, "dominance": 1.0}, "dark", ("brightness", 0, 10)),
    ({}, None, NOTHING),
    ({"num_faces": 0}, None, NOTHING),
    ({"width": 360, "height": 120}, None, NOTHING),
    ({"width": 32, "height": 32}, None, NOTHING),
]
# Each limit that has no default, and a value of the good record beyond it.
UNUSUAL = [
    ("side_px", Range(max=99), "too_large", 100),
    ("aspect_ratio", Range(min=1.3), "too_square", 1.2),
    ("contrast", Range(max=49), "harsh", 50),
    ("entropy", Range(max=6), "noisy", 7),
    ("dominance", Range(min=0.2), "no_main_colour", 0.1),
    ("blur", Range(max=400), "grainy", 500),
    ("num_faces", Range(min=1), "no_face", None),
    ("num_faces", Range(max=1), "many_faces", None),
    ("warnings", Range(min=4), "few_warnings", 3),
    ("warnings", Range(max=2), "many_warnings", 3),
]


def _records(spark: SparkSession, *changes: dict[str, Any]) -> DataFrame:
    return spark.createDataFrame([tuple({**GOOD, **change}.values()) for change in changes], SCHEMA)


def _found(records: DataFrame, settings: CleanSettings) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in clean(records, settings).select("reason", "measurement", "value", "limit").collect()]


@pytest.mark.spark
def test_each_record_gets_the_first_rule_it_breaks_and_what_it_went_by(spark: SparkSession) -> None:
    found = _found(_records(spark, *(change for change, _, _ in BROKEN)), CleanSettings())
    assert found == [(reason, *why) for _, reason, why in BROKEN]


@pytest.mark.spark
@pytest.mark.parametrize(("name", "limits", "reason", "value"), UNUSUAL)
def test_a_limit_without_a_default_can_be_set(
    spark: SparkSession, name: str, limits: Range, reason: str, value: float
) -> None:
    limit = limits.max if limits.min is None else limits.min
    assert _found(_records(spark, {}), CleanSettings(**{name: limits})) == [(reason, name, value, limit)]


def test_every_range_has_a_rule_and_every_reason_a_case_here() -> None:
    assert [rule.measurement for rule in RULES] == list(CleanSettings.model_fields)
    reasons = {reason for rule in RULES for reason in (rule.below, rule.above)}
    assert reasons <= {reason for _, reason, _ in BROKEN} | {reason for _, _, reason, _ in UNUSUAL}


@pytest.mark.spark
def test_a_measurement_without_limits_is_not_looked_at(spark: SparkSession) -> None:
    records = _records(spark, {"blur": None, "dominance": None}).drop("blur")
    assert _found(records, CleanSettings(blur=Range(), dominance=Range())) == [(None, *NOTHING)]


def _composed(*overrides: str) -> CurateSettings:
    fixed = ("source.path=images", "place.master=local[1]", "place.hosts=localhost:1")
    return compose([*fixed, *overrides]).curate


def test_a_limit_on_the_command_line_leaves_every_other_as_it_was() -> None:
    changed = _composed("curate.brightness.min=20", "curate.side_px.min=64", "curate.blur.min=null")
    expected = CleanSettings().model_dump()
    expected["brightness"]["min"] = 20
    expected["side_px"]["min"] = 64
    expected["blur"]["min"] = None
    assert changed.model_dump(include=set(expected)) == expected
    assert changed.brightness.max == 245


def test_settings_survive_run_yaml() -> None:
    settings = CurateSettings.model_validate({"brightness": {"min": 20, "max": None}})
    assert CurateSettings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("curate.brightness.min=250", "curate.brightness: min=250 is above max=245; lower the one or raise the other"),
        ("curate.dominance.max=75", "curate.dominance: max=75 must be between 0 and 1"),
        ("curate.blur.min=-1", "curate.blur: min=-1 must be at least 0"),
        ("curate.blur.min=sharp", "curate.blur.min=sharp: must be a number"),
        ("curate.blur.low=3", "there is no setting curate.blur.low; known here: .*"),
        ("curate.blurr.min=3", "there is no setting curate.blurr; did you mean curate.blur?"),
        ("curate.blur=3", "curate.blur=3: must be a group of settings, given key by key"),
    ],
)
def test_a_mistaken_limit_is_one_line(override: str, line: str) -> None:
    with pytest.raises(UserError, match=f"^{line.replace('?', chr(92) + '?')}$"):
        _composed(override)


def test_a_limit_is_a_finite_number() -> None:
    with pytest.raises(ValidationError, match="finite"):
        Range(min=float("nan"))
