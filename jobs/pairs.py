"""The job that finds pairs of duplicates; a changed threshold of cleaning does not repeat it."""

import functools
import shutil
import sys

from pyspark.sql import DataFrame, SparkSession

from jobs.entry import JobContext, run_job
from jobs.spark_work import read_artefact, spark_session
from pipelines import manifest
from pipelines.dedup.near import comparable, near_pairs
from pipelines.parquet import in_files, remove_unlisted, write_files
from pipelines.records import IMAGE_ID, LEFT, PAIRS, RECORDS, RIGHT
from pipelines.session import NUMBERS_PER_BATCH

_ROWS_PER_GROUP = 65536
_SCRATCH = "scratch"


def find_pairs(context: JobContext) -> None:
    """Write verified pairs of duplicates among the decoded pictures, enough to connect every group of them."""
    settings = context.settings.dedup
    manifest.clear(context.folder)
    with spark_session(context, rows_per_batch=NUMBERS_PER_BATCH) as spark:
        pairs = near_pairs(_images(context, spark), settings, context.folder / _SCRATCH)
        context.log.info("near-duplicates: %s", pairs.summary())
        # The number of files follows from that of the pictures: counting the pairs would mean finding them twice.
        rows = in_files(pairs.rows, num_rows=pairs.num_hashes, key=(LEFT, RIGHT))
        files = write_files(rows, context.folder, schema=PAIRS, rows_per_group=_ROWS_PER_GROUP)
    shutil.rmtree(context.folder / _SCRATCH)
    remove_unlisted(context.folder, files)
    num_pairs = sum(file.rows for file in files)
    context.finish(
        counts={"rows": num_pairs, "images": pairs.num_images},
        files=files,
        summary=f"{num_pairs:,} pairs among {pairs.num_images:,} images; {pairs.summary()}",
        facts={"near_duplicates": pairs.facts()},
    )


def _images(context: JobContext, spark: SparkSession) -> DataFrame:
    """The pictures to compare: new ones and references with all, earlier deliveries with new ones only."""
    settings = context.settings.dedup
    new = [context.parents[kind] for kind in ("records", "references") if kind in context.parents]
    tables = [comparable(read_artefact(spark, folder, RECORDS), settings) for folder in new]
    images = functools.reduce(DataFrame.unionByName, tables)
    if not context.earlier:
        return images
    folders = [delivery["records"] for delivery in context.earlier]
    earlier = [comparable(read_artefact(spark, folder, RECORDS), settings, is_old=True) for folder in folders]
    old = functools.reduce(DataFrame.unionByName, earlier)
    # Pictures whose bytes came in an earlier delivery have their pairs already.
    return images.join(old.select(IMAGE_ID), on=IMAGE_ID, how="left_anti").unionByName(old)


if __name__ == "__main__":
    sys.exit(run_job("pairs", find_pairs))
