"""The job that ingests the pictures of evaluation sets, which must not be trained on."""

import sys
from dataclasses import replace

from pyspark.sql import SparkSession

from jobs.entry import JobContext, run_job
from jobs.listing import named_references, references_digest, require_listed
from jobs.protection import find_unread, notes_on, require_all_judged, require_readable
from jobs.spark_work import spark_session
from pipelines.faces import build_detector
from pipelines.ingest import digest_of_records, ingest, refuse_if_changed, survey
from pipelines.manifest import File, clear
from pipelines.parquet import remove_unlisted
from pipelines.settings import UserError
from pipelines.sources.settings import SourceSettings
from training.tasks.pairs import pictures_outside


def ingest_references(context: JobContext) -> None:
    """Write the records of every reference into one table, and stop where one of them would protect nothing."""
    clear(context.folder)
    files: list[File] = []
    notes: list[str] = []
    digests: list[str] = []
    num_unread = 0
    with spark_session(context) as spark:
        for setting, source in named_references(context.settings).items():
            written, unread, said, digest = _ingest_reference(context, spark, setting, source, first_file=len(files))
            files += written
            notes += said
            digests.append(digest)
            num_unread += unread
    where = "a source of reference.sources or evaluate.sets"
    require_listed(context.settings, context.stage.name, references_digest(digests), where=where)
    _check_judged(context, files)
    remove_unlisted(context.folder, files)
    num_rows = sum(file.rows for file in files)
    counts = {"rows": num_rows, "unreadable": num_unread} if num_unread else {"rows": num_rows}
    but = f", and {num_unread:,} that could not be read" if num_unread else ""
    summary = f"{num_rows - num_unread:,} images that must not be trained on{but}"
    context.finish(counts=counts, files=files, summary=summary, facts={"notes": notes})


def _ingest_reference(
    context: JobContext, spark: SparkSession, setting: str, source: SourceSettings, *, first_file: int
) -> tuple[list[File], int, list[str], str]:
    """The records of one reference, in files numbered from `first_file` on; how many were not read, notes, a digest."""
    settings = context.settings
    found = survey(spark, source)
    if not found.chunks and not found.breaks:
        raise UserError(f"{setting}={source.path} holds no image to keep out of training; take it off, or correct it")
    chunks = [replace(chunk, index=first_file + place) for place, chunk in enumerate(found.chunks)]
    faces = build_detector(settings.faces)
    files = ingest(spark, chunks, context.folder, source=source, pixels=settings.pixels, faces=faces)
    refuse_if_changed(found, source)
    unread = find_unread(context.folder, files, source, found.passed_over)
    allowed = settings.reference.max_unreadable_fraction
    require_readable(setting, source, found, unread, allowed=allowed)
    digest = digest_of_records(spark, context.folder, files) if source.verify == "content" else found.listing
    return files, unread.num_rows, notes_on(setting, source, found, unread), digest


def _check_judged(context: JobContext, files: list[File]) -> None:
    """Compare the pictures by which each set judges with the records, since the two are found in different ways."""
    if not context.settings.reference.with_evaluation:
        return
    for name, one in context.settings.evaluate.sets.items():
        setting = f"evaluate.sets.{name}"
        try:
            judged = pictures_outside(one)
        except UserError as error:
            raise UserError(f"{setting}: {error}") from None
        if judged is not None:
            require_all_judged(setting, judged, context.folder, files)


if __name__ == "__main__":
    sys.exit(run_job("reference", ingest_references))
