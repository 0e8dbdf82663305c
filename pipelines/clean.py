"""Rules of cleaning: records that are unfit to train on, each with the reason."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.records import DECODE_OK, IDENTITY, LIMIT, MEASUREMENT, REASON, VALUE
from pipelines.settings import CleanSettings, Range


def _of_sides(pick: Callable[[Column, Column], Column]) -> Column:
    width, height = F.col("width"), F.col("height")
    # F.least and F.greatest skip nulls, and one side alone is not enough.
    return F.when(width.isNotNull() & height.isNotNull(), pick(width, height))


# Measurements that are not a column of the records.
_DERIVED: dict[str, Callable[[], Column]] = {
    "side_px": lambda: _of_sides(F.least),
    "aspect_ratio": lambda: F.try_divide(_of_sides(F.greatest), _of_sides(F.least)),
}


@dataclass(frozen=True)
class Rule:
    """The range of a measurement; outside it the record is rejected, for the reason named here."""

    measurement: str  # a field of CleanSettings, and a column of the records or one of _DERIVED
    below: str
    above: str


# A picture is rejected for the first rule that it breaks, so causes come before their symptoms: a black picture is
# "dark" although it is flat and blurred as well.
RULES = (
    Rule("side_px", below="too_small", above="too_large"),
    Rule("aspect_ratio", below="too_square", above="too_long"),
    Rule("brightness", below="dark", above="bright"),
    Rule("contrast", below="flat", above="harsh"),
    Rule("entropy", below="flat", above="noisy"),
    Rule("dominance", below="no_main_colour", above="one_colour"),
    Rule("blur", below="blurry", above="grainy"),
    Rule("num_faces", below="no_face", above="many_faces"),
    Rule("warnings", below="few_warnings", above="many_warnings"),
)


def clean(records: DataFrame, settings: CleanSettings) -> DataFrame:
    """Add `reason`: the decoder's fault, else the first broken rule; null means fit to train on.

    Also add `measurement`, `value` and `limit` of the broken rule; null where no measurement decided.
    """
    findings = F.coalesce(
        F.when(F.col("decode") != DECODE_OK, _finding(F.col("decode"))),
        F.when(F.col(IDENTITY).isNull(), _finding(F.lit("no_identity"))),
        *(finding for rule in RULES for finding in _broken(rule, getattr(settings, rule.measurement))),
    )
    found = records.withColumn("_finding", findings)
    return found.select("*", *(f"_finding.{name}" for name in (REASON, MEASUREMENT, VALUE, LIMIT))).drop("_finding")


def _broken(rule: Rule, limits: Range) -> Iterator[Column]:
    """The finding where a record breaks the rule, else null; one column per limit that is set."""
    derive = _DERIVED.get(rule.measurement)
    value = (derive() if derive else F.col(rule.measurement)).cast("double")
    # An unknown measurement counts as bad.
    if limits.min is not None:
        is_bad = value.isNull() | (value < limits.min)
        yield F.when(is_bad, _finding(F.lit(rule.below), rule.measurement, value, limits.min))
    if limits.max is not None:
        is_bad = value.isNull() | (value > limits.max)
        yield F.when(is_bad, _finding(F.lit(rule.above), rule.measurement, value, limits.max))


def _finding(
    reason: Column, measurement: str | None = None, value: Column | None = None, limit: float | None = None
) -> Column:
    nothing = F.lit(None)
    return F.struct(
        reason.alias(REASON),
        F.lit(measurement).cast("string").alias(MEASUREMENT),
        (nothing if value is None else value).cast("double").alias(VALUE),
        F.lit(limit).cast("double").alias(LIMIT),
    )
