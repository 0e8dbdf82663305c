"""Decide which records are fit to train on, and say why the others are not."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.records import DECODE_OK
from pipelines.settings import Settings


class CleanSettings(Settings):
    """The thresholds of the rules; each is compared with a stored measurement."""

    min_side_px: int = Field(default=32, ge=1)  # of the shorter side
    max_aspect_ratio: float = Field(default=3.0, ge=1)  # longer side over shorter
    min_brightness: float = Field(default=10.0, ge=0, le=255)  # mean grey level
    max_brightness: float = Field(default=245.0, ge=0, le=255)
    min_contrast: float = Field(default=8.0, ge=0, le=128)  # standard deviation of the grey levels
    min_entropy: float = Field(default=3.0, ge=0, le=8)  # bits of the grey histogram
    min_blur: float = Field(default=30.0, ge=0)  # variance of the Laplacian at 256 px


@dataclass(frozen=True)
class Rule:
    """One reason to reject a record; `is_good` is true for a row worth keeping."""

    name: str
    is_good: Callable[[CleanSettings], Column]


# A picture is rejected for the first rule that it breaks, so the causes stand before their symptoms: a black picture
# is "dark" although it is flat and blurred as well.
RULES = (
    Rule("no_identity", lambda s: F.col("identity").isNotNull()),
    # Not F.least and F.greatest alone: they skip nulls.
    Rule("too_small", lambda s: (F.col("width") >= s.min_side_px) & (F.col("height") >= s.min_side_px)),
    Rule(
        "too_long",
        lambda s: F.greatest("width", "height") <= s.max_aspect_ratio * F.least("width", "height"),
    ),
    Rule("dark", lambda s: F.col("brightness") >= s.min_brightness),
    Rule("bright", lambda s: F.col("brightness") <= s.max_brightness),
    Rule("flat", lambda s: (F.col("contrast") >= s.min_contrast) & (F.col("entropy") >= s.min_entropy)),
    Rule("blurry", lambda s: F.col("blur") >= s.min_blur),
)


def clean(records: DataFrame, settings: CleanSettings) -> DataFrame:
    """Add `reason`: the decoder's fault, else the first broken rule; null means fit to train on."""
    fault = F.when(F.col("decode") != DECODE_OK, F.col("decode"))
    broken = [
        # A null measurement is a broken image, so unknown counts as bad.
        F.when(~F.coalesce(rule.is_good(settings), F.lit(False)), rule.name)
        for rule in RULES
    ]
    return records.withColumn("reason", F.coalesce(fault, *broken))
