"""The job that finds the pictures that look alike; a changed threshold of cleaning does not do it again."""

import shutil
import sys

from jobs.entry import JobContext, run_job
from jobs.spark_work import read_artefact, spark_session
from pipelines import manifest
from pipelines.dedup.near import comparable, near_pairs
from pipelines.parquet import in_files, remove_unlisted, write_files
from pipelines.records import LEFT, PAIRS, RECORDS, RIGHT
from pipelines.session import NUMBERS_PER_BATCH

_ROWS_PER_GROUP = 65536
_SCRATCH = "scratch"


def find_pairs(context: JobContext) -> None:
    """Write enough verified pairs of near-duplicates among the decoded pictures to join all that hang together."""
    settings = context.settings.dedup
    manifest.clear(context.folder)
    with spark_session(context, rows_per_batch=NUMBERS_PER_BATCH) as spark:
        records = read_artefact(spark, context.parents["ingest"], RECORDS)
        pairs = near_pairs(comparable(records, settings), settings, context.folder / _SCRATCH)
        context.log.info("near-duplicates: %s", pairs.facts())
        # So many pictures, not pairs, tell the number of files: to count the pairs first would be to find them twice.
        rows = in_files(pairs.rows, num_rows=pairs.num_hashes, key=(LEFT, RIGHT))
        files = write_files(rows, context.folder, schema=PAIRS, rows_per_group=_ROWS_PER_GROUP)
    shutil.rmtree(context.folder / _SCRATCH)
    remove_unlisted(context.folder, files)
    num_pairs = sum(file.rows for file in files)
    context.finish(
        counts={"rows": num_pairs, "images": pairs.num_images}, files=files, facts={"near_duplicates": pairs.facts()}
    )
    context.progress(1, 1, f"{num_pairs:,} pairs among {pairs.num_images:,} images")


if __name__ == "__main__":
    sys.exit(run_job("pairs", find_pairs))
