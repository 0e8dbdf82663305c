"""Checks of identities: names of one person to merge, pictures of another person to reject, names of few pictures."""

from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.records import (
    IDENTITY,
    IMAGE_ID,
    LIMIT,
    MEASUREMENT,
    MERGED_INTO,
    OTHER_COSINE,
    OTHER_IDENTITY,
    OWN_COSINE,
    PROMINENCE,
    REASON,
    VALUE,
)
from pipelines.settings import IdentitySettings, UserError
from pipelines.tables.components import COMPONENT, components

NAME = "name"  # the identity of a row after merging
MARGIN = "margin"  # own cosine minus that to the nearest other identity


def merge_proposals(merges: DataFrame | None, settings: IdentitySettings) -> DataFrame:
    """The pairs of `records.MERGES` that may be one person.

    Raises:
        UserError: there is no such table.
    """
    known = require_embeddings(merges, f"curate.identities.merge={settings.merge}")
    return known.where(F.col(PROMINENCE) >= F.lit(settings.merge_prominence))


def merged_names(merges: DataFrame | None, settings: IdentitySettings, *, scratch: Path) -> DataFrame | None:
    """The identities that are merged: `identity`, and `merged_into`, the smallest name of those merged.

    None where the settings merge none.
    """
    if settings.merge != "apply" or settings.merge_prominence is None:
        return None
    merged = components(merge_proposals(merges, settings), scratch=scratch)
    return merged.select(F.col(IMAGE_ID).alias(IDENTITY), F.col(COMPONENT).alias(MERGED_INTO))


def name_rows(rows: DataFrame, names: DataFrame | None) -> DataFrame:
    """Add `merged_into`, and `name`: that identity, else the row's own.

    Args:
        names: as `merged_names` returns them.
    """
    if names is None:
        merged = rows.withColumn(MERGED_INTO, F.lit(None).cast("string"))
    else:
        merged = rows.join(names, on=IDENTITY, how="left")
    return merged.withColumn(NAME, F.coalesce(MERGED_INTO, IDENTITY))


def outliers(fits: DataFrame | None, names: DataFrame | None, settings: IdentitySettings) -> DataFrame | None:
    """Pictures that are far from the centre of their identity, or not nearer to it than to that of another.

    Args:
        fits: `records.FITS`.
        names: as `merged_names` returns them; between two merged identities there is no margin.

    Returns:
        image_id, identity, and the decisive measurement, value and limit. None where the settings set no limit, or
        only the default ones and there are no embeddings.

    Raises:
        UserError: the settings set other limits and there are no embeddings.
    """
    fields = {name: getattr(settings, name) for name in (f"min_{OWN_COSINE}", f"min_{MARGIN}")}
    limits = {name: limit for name, limit in fields.items() if limit is not None}
    defaults = IdentitySettings()
    if not limits or (fits is None and all(limit == getattr(defaults, name) for name, limit in limits.items())):
        return None
    required_by = " and ".join(f"curate.identities.{name}={limit}" for name, limit in limits.items())
    known = require_embeddings(fits, required_by)
    own = F.col(OWN_COSINE).cast("double")
    margin = own - F.col(OTHER_COSINE).cast("double")
    if names is not None:
        known = name_rows(known, names)
        others = names.select(F.col(IDENTITY).alias(OTHER_IDENTITY), F.col(MERGED_INTO).alias("other_name"))
        known = known.join(others, on=OTHER_IDENTITY, how="left")
        margin = F.when(F.col(NAME) != F.coalesce("other_name", OTHER_IDENTITY), margin)
    found = F.coalesce(_below(settings.min_own_cosine, OWN_COSINE, own), _below(settings.min_margin, MARGIN, margin))
    far = known.select(IMAGE_ID, IDENTITY, found.alias("found")).where(F.col("found").isNotNull())
    return far.select(IMAGE_ID, IDENTITY, "found.*")


def reject_outliers(rows: DataFrame, far: DataFrame | None) -> DataFrame:
    """Add the reason `outlier` to rows that have no reason, with its measurement, value and limit.

    Args:
        far: as `outliers` returns them.
    """
    if far is None:
        return rows
    found = far.select(
        IMAGE_ID, IDENTITY, F.struct(F.lit("outlier").alias(REASON), *(MEASUREMENT, VALUE, LIMIT)).alias("far")
    )
    joined = rows.join(found, on=[IMAGE_ID, IDENTITY], how="left")
    is_fit = F.col(REASON).isNull()
    columns = (REASON, MEASUREMENT, VALUE, LIMIT)
    updated = {name: F.when(is_fit, F.col(f"far.{name}")).otherwise(F.col(name)) for name in columns}
    return joined.withColumns(updated).drop("far")


def large_identities(rows: DataFrame, *, min_images: int) -> DataFrame:
    """The names of at least `min_images` of these rows."""
    return rows.groupBy(NAME).count().where(F.col("count") >= min_images).select(NAME)


def require_embeddings(table: DataFrame | None, setting: str) -> DataFrame:
    """The table that a setting needs.

    Raises:
        UserError: there is none.
    """
    if table is None:
        raise UserError(f"{setting} needs embeddings, and this run makes none; make them or set it to null")
    return table


def _below(limit: float | None, measurement: str, value: Column) -> Column:
    """The finding where a value is below its limit; null where it is not, or is unknown."""
    found = F.struct(
        F.lit(measurement).alias(MEASUREMENT), value.alias(VALUE), F.lit(limit).cast("double").alias(LIMIT)
    )
    return F.when(value < F.lit(limit), found)
