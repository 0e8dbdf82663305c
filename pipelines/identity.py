"""What the identities of a duplicate group say: one picture under two names is a conflict, and nobody keeps it."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.records import GROUP_ID, IDENTITY


def conflicting_groups(rows: DataFrame) -> DataFrame:
    """The `group_id`s whose rows name more than one identity.

    One person under two labels costs a face model more than the loss of the picture, and which name is right cannot
    be told from the bytes; so the whole group goes.
    """
    return (
        rows.where(F.col(GROUP_ID).isNotNull())
        .groupBy(GROUP_ID)
        .agg(F.countDistinct(IDENTITY).alias("_names"))
        .where(F.col("_names") > 1)
        .select(GROUP_ID)
    )


def large_identities(rows: DataFrame, *, min_images: int) -> DataFrame:
    """The identities that have at least `min_images` of these rows."""
    return rows.groupBy(IDENTITY).count().where(F.col("count") >= min_images).select(IDENTITY)
