"""Exact duplicates: pictures that are equal in some column, each paired with the first of them only."""

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from pipelines.records import DISTANCE, IMAGE_ID, LEFT, RIGHT

IS_OLD = "is_old"  # from an earlier delivery, whose own pairs are known


def star_pairs(images: DataFrame, column: str) -> DataFrame:
    """Pairs at distance 0 that connect all pictures with an equal value; nulls are not equal to anything.

    Args:
        images: `image_id`, `is_old` and the column; equal rows count once.

    Returns:
        `records.PAIRS`, each pair once; at least one of its pictures is not old.
    """
    first = F.first(IMAGE_ID).over(of_equal(column))
    stars = images.where(F.col(column).isNotNull()).select(IMAGE_ID, IS_OLD, first.alias("first"))
    return (
        stars.where((F.col(IMAGE_ID) != F.col("first")) & ~F.col(IS_OLD))
        .select(
            F.least(IMAGE_ID, "first").alias(LEFT),
            F.greatest(IMAGE_ID, "first").alias(RIGHT),
            F.lit(0).alias(DISTANCE),
        )
        .distinct()
    )


def first_of_equal(images: DataFrame, column: str) -> DataFrame:
    """One picture of each value: an old one if there is one, else a new one; the smallest `image_id` of these."""
    numbered = images.where(F.col(column).isNotNull()).withColumn("_place", _place(column))
    return numbered.where(F.col("_place") == 1).drop("_place")


def of_equal(column: str) -> WindowSpec:
    """A window over the pictures with an equal value, the representative first."""
    return Window.partitionBy(column).orderBy(F.desc(IS_OLD), IMAGE_ID)


def _place(column: str) -> Column:
    return F.row_number().over(of_equal(column))
