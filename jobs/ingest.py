"""The job that turns raw images into records."""

import sys

from jobs.entry import JobContext, run_job
from jobs.spark_work import spark_session
from pipelines.ingest import ingest, list_chunks
from pipelines.manifest import clear
from pipelines.parquet import remove_unlisted, write_files
from pipelines.records import DECODE_OK, RECORDS
from pipelines.settings import UserError
from pipelines.sources import describe

_ROWS_PER_GROUP = 512


def ingest_source(context: JobContext) -> None:
    """Write the records of the source, one file per chunk."""
    settings = context.settings
    listing = describe(settings.source)
    clear(context.folder)
    with spark_session(context) as spark:
        records = ingest(list_chunks(spark, settings.source), settings.pixels)
        files = write_files(records, context.folder, schema=RECORDS, rows_per_group=_ROWS_PER_GROUP)
        remove_unlisted(context.folder, files)
        written = spark.read.parquet(*(str(context.folder / file.path) for file in files))
        outcomes = {row["decode"]: row["count"] for row in written.groupBy("decode").count().collect()}
    num_rows = sum(file.rows for file in files)
    if num_rows != listing.num_files or sum(outcomes.values()) != num_rows:
        raise UserError(
            f"source.path={settings.source.path} listed {listing.num_files:,} files but gave {num_rows:,} records: "
            "it changed while it was read; run again when it is still"
        )
    if not outcomes.get(DECODE_OK):
        raise UserError(
            f"source.path={settings.source.path} holds {num_rows:,} files and not one readable image "
            f"({_listed(outcomes)}); name a {settings.source.kind} with images in it"
        )
    context.finish(counts={"rows": num_rows, **{f"decode:{k}": outcomes[k] for k in sorted(outcomes)}}, files=files)
    context.progress(1, 1, f"{num_rows:,} images, {num_rows - outcomes[DECODE_OK]:,} undecodable")


def _listed(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(outcomes.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    sys.exit(run_job("ingest", ingest_source))
