"""The job that finds the pictures that look alike; a changed threshold of cleaning does not do it again."""

import sys

from jobs.entry import JobContext, run_job
from jobs.spark_work import read_artefact, spark_session
from pipelines import manifest
from pipelines.dedup.bands import BandPlan, plan_bands
from pipelines.dedup.near import comparable, near_pairs
from pipelines.parquet import in_files, remove_unlisted, write_files
from pipelines.records import LEFT, PAIRS, RECORDS, RIGHT
from pipelines.session import NUMBERS_PER_BATCH

_ROWS_PER_GROUP = 65536


def find_pairs(context: JobContext) -> None:
    """Write every verified pair of near-duplicates among the decoded pictures."""
    settings = context.settings.dedup
    manifest.clear(context.folder)
    with spark_session(context, rows_per_batch=NUMBERS_PER_BATCH) as spark:
        images = comparable(read_artefact(spark, context.parents["ingest"], RECORDS), settings).persist()
        num_images = images.count()
        plan = plan_bands(num_images, max_distance=settings.max_distance)
        context.log.info("near-duplicates: %s", plan)
        # So many pictures, not pairs, tell the number of files: to count the pairs first would be to find them twice.
        pairs = in_files(near_pairs(images, plan, settings), num_rows=num_images, key=(LEFT, RIGHT))
        files = write_files(pairs, context.folder, schema=PAIRS, rows_per_group=_ROWS_PER_GROUP)
    remove_unlisted(context.folder, files)
    num_pairs = sum(file.rows for file in files)
    context.finish(
        counts={"rows": num_pairs, "images": num_images}, files=files, facts={"near_duplicates": _describe(plan)}
    )
    context.progress(1, 1, f"{num_pairs:,} pairs among {num_images:,} images")


def _describe(plan: BandPlan) -> dict[str, float]:
    return {
        "band_bits": plan.bits,
        "bands": plan.bands,
        "expected_recall": round(plan.recall, 6),
        "expected_candidates": round(plan.candidates),
    }


if __name__ == "__main__":
    sys.exit(run_job("pairs", find_pairs))
