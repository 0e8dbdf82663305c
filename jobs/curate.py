"""The job that decides what becomes of every record."""

import sys

from jobs.entry import JobContext, run_job
from jobs.spark_work import read_artefact, spark_session
from pipelines import manifest
from pipelines.curate import decide, in_files
from pipelines.parquet import remove_unlisted, write_files
from pipelines.records import DECISIONS, IMAGE, KEPT, STATUSES
from pipelines.settings import UserError

_ROWS_PER_GROUP = 65536


def curate(context: JobContext) -> None:
    """Write one decision per record."""
    settings = context.settings
    records_folder = context.parents["ingest"]
    num_records = manifest.read(records_folder).counts["rows"]
    manifest.clear(context.folder)
    with spark_session(context) as spark:
        measurements = read_artefact(spark, records_folder).drop(IMAGE)
        curated = decide(measurements, settings.curate, seed=settings.seed)
        context.log.info("near-duplicates: %s", curated.plan)
        decisions = in_files(curated.decisions, num_rows=num_records)
        files = write_files(decisions, context.folder, schema=DECISIONS, rows_per_group=_ROWS_PER_GROUP)
        remove_unlisted(context.folder, files)
        written = spark.read.parquet(*(str(context.folder / file.path) for file in files))
        outcomes = [tuple(row) for row in written.groupBy("status", "reason").count().collect()]
    counts = {status: sum(n for name, _, n in outcomes if name == status) for status in STATUSES}
    # Law: nothing is dropped silently. Checked on what was written, before the manifest says that it is whole.
    assert sum(counts.values()) == num_records, f"{num_records} records became {counts}"
    if not counts[KEPT]:
        worst = ", ".join(f"{count:,} {reason}" for _, reason, count in sorted(outcomes, key=lambda o: -o[2])[:4])
        raise UserError(
            f"not one of {num_records:,} images is kept ({worst}); loosen the thresholds under curate.clean"
        )
    reasons = {f"{status}:{reason}": count for status, reason, count in sorted(outcomes, key=str) if reason}
    context.finish(
        counts={"rows": num_records, **counts, **reasons},
        files=files,
        facts={
            "near_duplicates": {
                "band_bits": curated.plan.bits,
                "bands": curated.plan.bands,
                "expected_recall": round(curated.plan.recall, 6),
                "expected_candidates": round(curated.plan.candidates),
            }
        },
    )
    context.progress(1, 1, ", ".join(f"{counts[status]:,} {status}" for status in STATUSES))


if __name__ == "__main__":
    sys.exit(run_job("curate", curate))
