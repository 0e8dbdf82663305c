"""The scores in Spark: every picture against its identity, close identities, close pictures.

Every vector is shuffled twice: to its identity, and to its cells.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.arrays import Vectors
from pipelines.records import (
    COSINE,
    EMBEDDING,
    FITS,
    IDENTITY,
    IMAGE_ID,
    LEFT,
    OTHER_COSINE,
    OTHER_IDENTITY,
    OWN_COSINE,
    PROMINENCE,
    RIGHT,
)
from pipelines.score.cells import SAMPLED_PER_CELL, find_means, plan_cells
from pipelines.score.passes import (
    CELL,
    CENTRE,
    FITTED_ROWS,
    FOUND_ROWS,
    KIND,
    MERGE,
    NAME,
    NEAREST,
    NEIGHBOUR,
    PICTURE,
    SPREAD_ROWS,
    WHITE,
    fitter,
    searcher,
    spreader,
)
from pipelines.score.settings import ScoreSettings
from pipelines.score.whiten import find_whitening
from pipelines.tables.arrow import to_matrix

_SAMPLED = 20_000  # embeddings from which whitening is estimated, at least, or all if there are fewer


@dataclass(frozen=True)
class Scores:
    """The three tables, and the number of cells; with one cell all vectors were compared with all."""

    fits: DataFrame
    merges: DataFrame
    neighbours: DataFrame
    num_cells: int


def score(embeddings: DataFrame, identities: DataFrame, settings: ScoreSettings) -> Scores:
    """Compare every picture with its identity and with other pictures, and the identities with each other.

    Args:
        embeddings: `records.EMBEDDINGS`, including those of a reference.
        identities: image_id and identity, such as `records.RECORDS`; rows without an identity are ignored.

    Returns:
        Tables that do not depend on the partitioning of the input. An own cosine is null where the identity has no
        other picture; pictures without an embedding are in none of the tables.
    """
    named = identities.where(F.col(IDENTITY).isNotNull()).select(IMAGE_ID, IDENTITY).distinct()
    by_identity = embeddings.join(named, on=IMAGE_ID, how="inner").select(IMAGE_ID, IDENTITY, EMBEDDING)
    in_order = by_identity.repartition(IDENTITY).sortWithinPartitions(IDENTITY, IMAGE_ID)
    num_cells = plan_cells(embeddings.count(), vectors_per_cell=settings.vectors_per_cell)
    sample = _sample(embeddings, max(_SAMPLED, SAMPLED_PER_CELL * num_cells))
    fitted = in_order.mapInArrow(fitter(settings.trim, find_whitening(sample)), FITTED_ROWS).persist()
    centres = fitted.where(F.col(IMAGE_ID).isNull())
    found = _search(embeddings, centres, find_means(sample, num_cells), settings)
    return Scores(
        fits=_fits(fitted.where(F.col(IMAGE_ID).isNotNull()), found.where(F.col(KIND) == NEAREST)),
        merges=_distinct_pairs(found.where(F.col(KIND) == MERGE)),
        neighbours=_distinct_pairs(found.where(F.col(KIND) == NEIGHBOUR)).drop(PROMINENCE),
        num_cells=num_cells,
    )


def _sample(embeddings: DataFrame, count: int) -> Vectors:
    # The first by image_id, which are digests, are a random sample.
    rows = embeddings.orderBy(IMAGE_ID).limit(count).select(EMBEDDING).toArrow()
    return to_matrix(rows.column(EMBEDDING).combine_chunks())


def _search(embeddings: DataFrame, centres: DataFrame, means: Vectors, settings: ScoreSettings) -> DataFrame:
    """Compare the vectors of each cell: rows of kind, left, right, cosine and prominence."""
    no_white = F.lit(None).cast("array<float>").alias(WHITE)
    pictures = embeddings.select(F.lit(PICTURE).alias(KIND), F.col(IMAGE_ID).alias(NAME), EMBEDDING, no_white)
    vectors = pictures.unionByName(
        centres.select(F.lit(CENTRE).alias(KIND), F.col(IDENTITY).alias(NAME), EMBEDDING, WHITE)
    )
    placed = vectors.mapInArrow(spreader(means, settings.cells_per_vector), SPREAD_ROWS)
    in_order = placed.repartition(len(means), CELL).sortWithinPartitions(CELL, KIND, NAME)
    search = searcher(
        min_merge_cosine=settings.min_merge_cosine,
        min_neighbour_cosine=settings.min_neighbour_cosine,
        most=settings.neighbours,
    )
    return in_order.mapInArrow(search, FOUND_ROWS).persist()


def _distinct_pairs(pairs: DataFrame) -> DataFrame:
    """Remove repetitions of pairs that share two cells; keep the smaller prominence."""
    return pairs.groupBy(LEFT, RIGHT).agg(F.max(COSINE).alias(COSINE), F.min(PROMINENCE).alias(PROMINENCE))


def _fits(fitted: DataFrame, nearest: DataFrame) -> DataFrame:
    """Add to each picture and identity the nearest of the other identities."""
    candidates = nearest.select(F.col(LEFT).alias(IMAGE_ID), F.struct(COSINE, RIGHT).alias("other"))
    is_other = F.col(f"other.{RIGHT}") != F.col(IDENTITY)
    joined = fitted.select(IMAGE_ID, IDENTITY, OWN_COSINE).join(candidates, on=IMAGE_ID, how="left")
    best = F.max(F.when(is_other, F.col("other"))).alias("other")
    return (
        joined.groupBy(IMAGE_ID, IDENTITY, OWN_COSINE)
        .agg(best)
        .withColumn(OTHER_IDENTITY, F.col(f"other.{RIGHT}"))
        .withColumn(OTHER_COSINE, F.col(f"other.{COSINE}"))
        .select(*FITS.names)
    )
