"""The job that compares pictures with their identities and with each other; curation sets the thresholds."""

import sys

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.entry import JobContext, run_job
from jobs.spark_work import read_artefact, read_everywhere, spark_session
from pipelines import manifest
from pipelines.parquet import FILE, in_files, remove_unlisted, write_files
from pipelines.records import (
    EMBEDDINGS,
    FIT_ROWS,
    FITS,
    IDENTITY,
    IMAGE_ID,
    LEFT,
    MERGE_ROWS,
    MERGES,
    NEIGHBOUR_ROWS,
    NEIGHBOURS,
    RECORDS,
    RIGHT,
)
from pipelines.score.score import score
from pipelines.session import NUMBERS_PER_BATCH

_ROWS_PER_GROUP = 65536


def score_pictures(context: JobContext) -> None:
    """Write the fit of pictures to identities, the close pairs of identities, and the close pairs of pictures."""
    embeddings_folder = context.parents["embeddings"]
    num_pictures = manifest.read(embeddings_folder).counts["rows"]
    manifest.clear(context.folder)
    with spark_session(context, rows_per_batch=NUMBERS_PER_BATCH) as spark:
        identities = read_everywhere(spark, context, "records", RECORDS).select(IMAGE_ID, IDENTITY)
        embeddings = read_artefact(spark, embeddings_folder, EMBEDDINGS)
        scores = score(embeddings, identities, context.settings.score)
        fits = in_files(scores.fits, num_rows=num_pictures, key=(IMAGE_ID, IDENTITY), folder=FIT_ROWS)
        neighbours = in_files(scores.neighbours, num_rows=num_pictures, key=(LEFT, RIGHT), folder=NEIGHBOUR_ROWS)
        tables = {FIT_ROWS: (fits, FITS), MERGE_ROWS: (_in_file(scores.merges), MERGES)}
        tables[NEIGHBOUR_ROWS] = (neighbours, NEIGHBOURS)
        files = {
            name: write_files(rows, context.folder, schema=schema, rows_per_group=_ROWS_PER_GROUP)
            for name, (rows, schema) in tables.items()
        }
    everything = [file for table in files.values() for file in table]
    remove_unlisted(context.folder, everything)
    counts = {name: sum(file.rows for file in table) for name, table in files.items()}
    compared = f"{counts[FIT_ROWS]:,} pictures compared with their identities"
    pairs = f"{counts[MERGE_ROWS]:,} close pairs of identities, {counts[NEIGHBOUR_ROWS]:,} of pictures"
    context.finish(counts=counts, files=everything, summary=f"{compared}; {pairs}", facts={"cells": scores.num_cells})


def _in_file(merges: DataFrame) -> DataFrame:
    """Put all merges into one file: they are few, and names of identities, unlike digests, do not spread over files."""
    in_order = merges.repartition(1).sortWithinPartitions(LEFT, RIGHT)
    return in_order.withColumn(FILE, F.lit(f"{MERGE_ROWS}/000000"))


if __name__ == "__main__":
    sys.exit(run_job("score", score_pictures))
