"""The job that decides what becomes of every record."""

import sys

from jobs.entry import JobContext, run_job
from jobs.spark_work import read_artefact, read_files, spark_session
from pipelines import manifest
from pipelines.curate import decide, not_kept
from pipelines.parquet import in_files, remove_unlisted, write_files
from pipelines.records import (
    DECISIONS,
    IMAGE_ID,
    KEPT,
    PAIRS,
    RECORDS,
    REJECTED_ROWS,
    REJECTIONS,
    SOURCE,
    STATUSES,
)
from pipelines.session import NUMBERS_PER_BATCH
from pipelines.settings import UserError

_ROWS_PER_GROUP = 65536
_KEY = (IMAGE_ID, SOURCE)


def curate(context: JobContext) -> None:
    """Write one decision per record, and for each that is not kept what it was refused by."""
    settings = context.settings
    records_folder = context.parents["ingest"]
    num_records = manifest.read(records_folder).counts["rows"]
    manifest.clear(context.folder)
    with spark_session(context, rows_per_batch=NUMBERS_PER_BATCH) as spark:
        measurements = read_artefact(spark, records_folder, RECORDS)
        pairs = read_artefact(spark, context.parents["pairs"], PAIRS)
        decisions = decide(measurements, pairs, settings.curate, settings.dedup, seed=settings.seed)
        decided = in_files(decisions, num_rows=num_records, key=_KEY)
        rows = write_files(decided, context.folder, schema=DECISIONS, rows_per_group=_ROWS_PER_GROUP)
        written = read_files(spark, context.folder, rows)
        outcomes = [tuple(row) for row in written.groupBy("status", "reason").count().collect()]
        counts = {status: sum(n for name, _, n in outcomes if name == status) for status in STATUSES}
        num_left_out = num_records - counts[KEPT]
        left_out = in_files(not_kept(decisions), num_rows=num_left_out, key=_KEY, folder=REJECTED_ROWS)
        rejected = write_files(left_out, context.folder, schema=REJECTIONS, rows_per_group=_ROWS_PER_GROUP)
    remove_unlisted(context.folder, [*rows, *rejected])
    # Law: nothing is dropped silently. Checked on what was written, before the manifest says that it is whole.
    assert sum(counts.values()) == num_records, f"{num_records} records became {counts}"
    num_rejected = sum(file.rows for file in rejected)
    assert num_rejected == num_left_out, f"of {num_left_out} records left out, {num_rejected} are in {REJECTED_ROWS}/"
    if not counts[KEPT]:
        worst = ", ".join(f"{count:,} {reason}" for _, reason, count in sorted(outcomes, key=lambda o: -o[2])[:4])
        raise UserError(f"not one of {num_records:,} images is kept ({worst}); widen the ranges under curate")
    reasons = {f"{status}:{reason}": count for status, reason, count in sorted(outcomes, key=str) if reason}
    context.finish(counts={"rows": num_records, **counts, **reasons}, files=[*rows, *rejected])
    context.progress(1, 1, ", ".join(f"{counts[status]:,} {status}" for status in STATUSES))


if __name__ == "__main__":
    sys.exit(run_job("curate", curate))
