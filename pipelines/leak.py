"""Leaks: training pictures that also show a picture of the evaluation set, found by embeddings, and their list."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.identity import require_embeddings
from pipelines.records import COSINE, EXCLUSIONS, IMAGE_ID, LEFT, REASON, RIGHT
from pipelines.settings import LeakSettings

LEAK = "leak"
LEAK_TO = "leak_to"  # the picture of the reference


def cosine_leaks(references: DataFrame, neighbours: DataFrame | None, settings: LeakSettings) -> DataFrame | None:
    """The pictures whose embedding is close to that of a reference: image_id, leak_to (the closest), cosine.

    None where the settings set no cosine.

    Args:
        references: with the `image_id`s of the evaluation set.
        neighbours: `records.NEIGHBOURS`.

    Raises:
        UserError: `curate.leak.min_cosine` is set and there are no neighbours.
    """
    if settings.min_cosine is None:
        return None
    near = require_embeddings(neighbours, f"curate.leak.min_cosine={settings.min_cosine}").where(
        F.col(COSINE) >= settings.min_cosine
    )
    ids = references.select(IMAGE_ID).distinct()
    found = []
    for own, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        to_reference = near.join(ids.withColumnRenamed(IMAGE_ID, other), on=other, how="left_semi")
        found.append(to_reference.select(F.col(own).alias(IMAGE_ID), F.col(other).alias(LEAK_TO), COSINE))
    # Among equally close ones the smaller image_id.
    closest = F.min(F.struct((-F.col(COSINE)).alias("far"), LEAK_TO)).alias("closest")
    leaks = found[0].unionByName(found[1]).groupBy(IMAGE_ID).agg(closest)
    return leaks.select(IMAGE_ID, f"closest.{LEAK_TO}", (-F.col("closest.far")).alias(COSINE))


def exclusions(decisions: DataFrame) -> DataFrame:
    """The list of leaks: `records.EXCLUSIONS`.

    Args:
        decisions: as `curate.decide` returns them, or `records.REJECTIONS`.
    """
    return decisions.where(F.col(REASON) == LEAK).select(*EXCLUSIONS.names)
