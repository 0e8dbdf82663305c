"""The job that ingests the pictures of evaluation sets, which must not be trained on."""

import sys
from dataclasses import replace

from pyspark.sql import SparkSession

from jobs.entry import JobContext, run_job
from jobs.listing import reference_sources
from jobs.spark_work import spark_session
from pipelines.faces import build_detector
from pipelines.ingest import Survey, ingest, refuse_if_changed, survey
from pipelines.manifest import File, clear
from pipelines.parquet import remove_unlisted
from pipelines.settings import UserError
from pipelines.sources.settings import SourceSettings


def ingest_references(context: JobContext) -> None:
    """Write the records of every reference into one table."""
    clear(context.folder)
    files: list[File] = []
    notes: list[str] = []
    with spark_session(context) as spark:
        for source in reference_sources(context.settings):
            found, written = _ingest_reference(context, spark, source, first_file=len(files))
            files += written
            notes += [f"{part}; its pictures cannot be kept out of training" for part in found.breaks]
            if found.passed_over.total:
                notes.append(f"{source.path}: {found.passed_over.note()}")
    remove_unlisted(context.folder, files)
    num_rows = sum(file.rows for file in files)
    summary = f"{num_rows:,} images that must not be trained on"
    context.finish(counts={"rows": num_rows}, files=files, summary=summary, facts={"notes": notes})


def _ingest_reference(
    context: JobContext, spark: SparkSession, source: SourceSettings, *, first_file: int
) -> tuple[Survey, list[File]]:
    """The records of one reference, in files numbered from `first_file` on."""
    settings = context.settings
    found = survey(spark, source)
    if not found.chunks:
        raise UserError(f"{source.path} holds no image to keep out of training; take it off the references")
    chunks = [replace(chunk, index=first_file + place) for place, chunk in enumerate(found.chunks)]
    faces = build_detector(settings.faces)
    files = ingest(spark, chunks, context.folder, source=source, pixels=settings.pixels, faces=faces)
    refuse_if_changed(found, source)
    return found, files


if __name__ == "__main__":
    sys.exit(run_job("reference", ingest_references))
