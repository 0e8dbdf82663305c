"""The job that decides on every record."""

import shutil
import sys

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.entry import JobContext, run_job
from jobs.nothing_kept import NO_IDENTITY, few_identities, nothing_kept, without_identities
from jobs.rounds import without_embeddings
from jobs.spark_work import read_artefact, read_everywhere, read_files, spark_session
from pipelines import manifest
from pipelines.curate import decide, not_kept
from pipelines.identity import merge_proposals
from pipelines.leak import exclusions
from pipelines.manifest import File
from pipelines.parquet import in_files, remove_unlisted, write_files
from pipelines.records import (
    DECISIONS,
    EXCLUDED_ROWS,
    EXCLUSIONS,
    FIT_ROWS,
    FITS,
    IDENTITY,
    IMAGE_ID,
    KEPT,
    MERGE_ROWS,
    MERGES,
    NEIGHBOUR_ROWS,
    NEIGHBOURS,
    PAIRS,
    RECORDS,
    REJECTED_ROWS,
    REJECTIONS,
    ROWS,
    SOURCE,
    STATUSES,
)
from pipelines.session import NUMBERS_PER_BATCH
from pipelines.settings import UserError

_ROWS_PER_GROUP = 65536
_KEY = (IMAGE_ID, SOURCE)
_SCRATCH = ".scratch"


def curate(context: JobContext) -> None:
    """Write one decision per record, the reason for each that is not kept, and the list of leaks."""
    folders = [context.parents["records"], *(delivery["records"] for delivery in context.earlier)]
    num_records = sum(manifest.read(folder).counts["rows"] for folder in folders)
    manifest.clear(context.folder)
    with spark_session(context, rows_per_batch=NUMBERS_PER_BATCH) as spark:
        try:
            decisions = _decide(context, spark)
        except UserError as error:
            records = read_everywhere(spark, context, "records", RECORDS)
            num_without = records.where(F.col(IDENTITY).isNull()).count()
            raise few_identities(error, num_without, num_records, context.settings) from None
        rows = _write(decisions, context, DECISIONS, num_rows=num_records)
        written = read_files(spark, context.folder, rows)
        outcomes = [tuple(row) for row in written.groupBy("status", "reason").count().collect()]
        counts = {status: sum(n for name, _, n in outcomes if name == status) for status in STATUSES}
        num_left_out = num_records - counts[KEPT]
        rejected = _write(not_kept(decisions), context, REJECTIONS, num_rows=num_left_out, table=REJECTED_ROWS)
        excluded: list[File] = []
        if "references" in context.parents and rejected:
            # Read from the written table, since the decisions would be computed again.
            leaks = exclusions(read_files(spark, context.folder, rejected))
            excluded = _write(leaks, context, EXCLUSIONS, num_rows=num_left_out, table=EXCLUDED_ROWS)
        notes = _proposals(context, spark)
    shutil.rmtree(context.folder / _SCRATCH, ignore_errors=True)
    files = [*rows, *rejected, *excluded]
    remove_unlisted(context.folder, files)
    # Law: nothing is dropped silently. Checked on the written files, before the manifest declares them complete.
    assert sum(counts.values()) == num_records, f"{num_records} records became {counts}"
    num_rejected = sum(file.rows for file in rejected)
    assert num_rejected == num_left_out, f"of {num_left_out} records left out, {num_rejected} are in {REJECTED_ROWS}/"
    if not counts[KEPT]:
        raise nothing_kept(outcomes, context.settings)
    num_without = sum(count for _, reason, count in outcomes if reason == NO_IDENTITY)
    notes = [*without_identities(num_without, num_records, context.settings), *notes]
    reasons = {f"{status}:{reason}": count for status, reason, count in sorted(outcomes, key=str) if reason}
    summary = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES)
    counts = {"rows": num_records, **counts, **reasons}
    context.finish(counts=counts, files=files, summary=summary, facts={"notes": notes})


def _decide(context: JobContext, spark: SparkSession) -> DataFrame:
    settings = without_embeddings(context.settings, context.parents)

    def score_table(table: str, schema: pa.Schema) -> DataFrame | None:
        folder = context.parents.get("scores")
        return None if folder is None else read_artefact(spark, folder, schema, table=table)

    reference = context.parents.get("references")
    return decide(
        read_everywhere(spark, context, "records", RECORDS),
        read_everywhere(spark, context, "pairs", PAIRS),
        settings.curate,
        settings.dedup,
        seed=settings.seed,
        scratch=context.folder / _SCRATCH,
        references=None if reference is None else read_artefact(spark, reference, RECORDS),
        fits=score_table(FIT_ROWS, FITS),
        merges=score_table(MERGE_ROWS, MERGES),
        neighbours=score_table(NEIGHBOUR_ROWS, NEIGHBOURS),
    )


def _write(rows: DataFrame, context: JobContext, schema: pa.Schema, *, num_rows: int, table: str = ROWS) -> list[File]:
    in_order = in_files(rows, num_rows=num_rows, key=_KEY, folder=table)
    return write_files(in_order, context.folder, schema=schema, rows_per_group=_ROWS_PER_GROUP)


def _proposals(context: JobContext, spark: SparkSession) -> list[str]:
    """A note on identities that may be one person and are not merged."""
    settings = context.settings.curate.identities
    if settings.merge_prominence is None or settings.merge == "apply" or "scores" not in context.parents:
        return []
    merges = read_artefact(spark, context.parents["scores"], MERGES, table=MERGE_ROWS)
    count = merge_proposals(merges, settings).count()
    return [f"{count:,} pairs of identities may be one person; curate.identities.merge=apply joins them"]


if __name__ == "__main__":
    sys.exit(run_job("curate", curate))
