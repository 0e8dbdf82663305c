"""The job that decides what becomes of every record."""

import shutil
import sys

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.entry import JobContext, run_job
from jobs.spark_work import read_artefact, read_files, spark_session
from pipelines import manifest
from pipelines.curate import decide, not_kept
from pipelines.identity import merge_proposals
from pipelines.leak import LEAK, exclusions
from pipelines.manifest import File
from pipelines.parquet import in_files, remove_unlisted, write_files
from pipelines.records import (
    DECISIONS,
    EXCLUDED_ROWS,
    EXCLUSIONS,
    FIT_ROWS,
    FITS,
    IMAGE_ID,
    KEPT,
    MERGE_ROWS,
    MERGES,
    NEIGHBOUR_ROWS,
    NEIGHBOURS,
    PAIRS,
    RECORDS,
    REJECTED,
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


def curate(context: JobContext) -> None:
    """Write one decision per record, for each that is not kept what it was refused by, and what is a leak."""
    settings = context.settings
    records_folder = context.parents["ingest"]
    num_records = manifest.read(records_folder).counts["rows"]
    manifest.clear(context.folder)
    scratch = context.folder / "scratch"
    with spark_session(context, rows_per_batch=NUMBERS_PER_BATCH) as spark:
        measurements = read_artefact(spark, records_folder, RECORDS)
        pairs = read_artefact(spark, context.parents["pairs"], PAIRS)
        known = _known(context, spark)
        decisions = decide(
            measurements, pairs, settings.curate, settings.dedup, seed=settings.seed, scratch=scratch, **known
        )
        rows = _write(context, decisions, DECISIONS, ROWS, num_records)
        written = read_files(spark, context.folder, rows)
        outcomes = [tuple(row) for row in written.groupBy("status", "reason").count().collect()]
        counts = {status: sum(n for name, _, n in outcomes if name == status) for status in STATUSES}
        num_left_out = num_records - counts[KEPT]
        rejected = _write(context, not_kept(decisions), REJECTIONS, REJECTED_ROWS, num_left_out)
        excluded = []
        if "references" in known:
            num_leaks = sum(n for *outcome, n in outcomes if outcome == [REJECTED, LEAK])
            excluded = _write(context, exclusions(decisions), EXCLUSIONS, EXCLUDED_ROWS, num_leaks)
        facts = _proposals(context, known)
    shutil.rmtree(scratch, ignore_errors=True)
    files = [*rows, *rejected, *excluded]
    remove_unlisted(context.folder, files)
    # Law: nothing is dropped silently. Checked on what was written, before the manifest says that it is whole.
    assert sum(counts.values()) == num_records, f"{num_records} records became {counts}"
    num_rejected = sum(file.rows for file in rejected)
    assert num_rejected == num_left_out, f"of {num_left_out} records left out, {num_rejected} are in {REJECTED_ROWS}/"
    if not counts[KEPT]:
        worst = ", ".join(f"{count:,} {reason}" for _, reason, count in sorted(outcomes, key=lambda o: -o[2])[:4])
        raise UserError(f"not one of {num_records:,} images is kept ({worst}); widen the ranges under curate")
    reasons = {f"{status}:{reason}": count for status, reason, count in sorted(outcomes, key=str) if reason}
    context.finish(counts={"rows": num_records, **counts, **reasons}, files=files, facts=facts)
    told = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES)
    context.progress(1, 1, told + "".join(f"; {count:,} {name.replace('_', ' ')}" for name, count in facts.items()))


def _known(context: JobContext, spark: SparkSession) -> dict[str, DataFrame]:
    """What else is known: the pictures of an evaluation set, and what embeddings say."""
    tables = {
        "references": ("reference", RECORDS, ROWS),
        "fits": ("score", FITS, FIT_ROWS),
        "merges": ("score", MERGES, MERGE_ROWS),
        "neighbours": ("score", NEIGHBOURS, NEIGHBOUR_ROWS),
    }
    return {
        name: read_artefact(spark, context.parents[parent], schema, table=table)
        for name, (parent, schema, table) in tables.items()
        if parent in context.parents
    }


def _write(context: JobContext, rows: DataFrame, schema: pa.Schema, folder: str, num_rows: int) -> list[File]:
    placed = in_files(rows, num_rows=num_rows, key=_KEY, folder=folder)
    return write_files(placed, context.folder, schema=schema, rows_per_group=_ROWS_PER_GROUP)


def _proposals(context: JobContext, known: dict[str, DataFrame]) -> dict[str, int]:
    """How many pairs of identities may be one person, where that is asked."""
    settings = context.settings.curate.identities
    if settings.merge_cosine is None:
        return {}
    name = "merged_pairs" if settings.merge == "apply" else "proposed_merges"
    return {name: merge_proposals(known.get("merges"), settings).count()}


if __name__ == "__main__":
    sys.exit(run_job("curate", curate))
