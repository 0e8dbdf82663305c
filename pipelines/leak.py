"""Pictures of an evaluation set that must not be in the training data: found by embeddings, and listed."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.identity import needed
from pipelines.records import COSINE, EXCLUSIONS, IMAGE_ID, LEFT, REASON, RIGHT
from pipelines.settings import LeakSettings

LEAK = "leak"
LEAK_TO = "leak_to"  # the picture of the reference


def cosine_leaks(references: DataFrame, neighbours: DataFrame | None, settings: LeakSettings) -> DataFrame | None:
    """The pictures whose embedding is close to that of a reference: image_id, leak_to (the closest), cosine.

    None where nothing is asked.

    Args:
        references: with the `image_id`s of the evaluation set.
        neighbours: `records.NEIGHBOURS`.

    Raises:
        UserError: no neighbours are known.
    """
    if settings.min_cosine is None:
        return None
    near = needed(neighbours, f"curate.leak.min_cosine={settings.min_cosine}").where(
        F.col(COSINE) >= settings.min_cosine
    )
    ids = references.select(IMAGE_ID).distinct()
    ways = []
    for own, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        to_reference = near.join(ids.withColumnRenamed(IMAGE_ID, other), on=other, how="left_semi")
        ways.append(to_reference.select(F.col(own).alias(IMAGE_ID), F.col(other).alias(LEAK_TO), COSINE))
    # Of two that are as close, the one with the smaller image_id.
    closest = F.min(F.struct((-F.col(COSINE)).alias("far"), LEAK_TO)).alias("closest")
    found = ways[0].unionByName(ways[1]).groupBy(IMAGE_ID).agg(closest)
    return found.select(IMAGE_ID, f"closest.{LEAK_TO}", (-F.col("closest.far")).alias(COSINE))


def exclusions(decisions: DataFrame) -> DataFrame:
    """The list of what is in the evaluation set too: `records.EXCLUSIONS`.

    Args:
        decisions: as `curate.decide` makes them, or `records.REJECTIONS`.
    """
    return decisions.where(F.col(REASON) == LEAK).select(*EXCLUSIONS.names)
