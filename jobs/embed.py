"""The job that embeds every picture of the records, and of the references if there are any."""

import sys

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.entry import JobContext, run_job
from jobs.spark_work import names_everywhere, read_artefact, read_everywhere, read_files, spark_session
from pipelines import manifest
from pipelines.align import aligner_of
from pipelines.embed_records import count_pictures, embed_records
from pipelines.embedder import Embedder, exported, read_embedder
from pipelines.parquet import in_files, remove_unlisted, write_files
from pipelines.records import DECODE_OK, EMBEDDING, EMBEDDINGS, IMAGE_ID, RECORDS
from pipelines.settings import UserError

_ROWS_PER_GROUP = 8192


def embed_pictures(context: JobContext) -> None:
    """Write the embedding of every distinct picture that can be decoded."""
    settings = context.settings
    embedder = _embedder(context)
    manifest.clear(context.folder)
    with spark_session(context) as spark:
        records = read_everywhere(spark, context, "records", RECORDS)
        folder = context.parents.get("references")
        references = None if folder is None else read_artefact(spark, folder, RECORDS)
        if references is not None:
            records = records.unionByName(references)
        num_pictures = count_pictures(records)
        found = embed_records(
            records,
            embedder,
            settings.pixels,
            aligner_of(settings.shard, settings.pixels),
            name=names_everywhere(context, "records", "references"),
        )
        rows = in_files(found, num_rows=num_pictures, key=(IMAGE_ID,))
        files = write_files(rows, context.folder, schema=EMBEDDINGS, rows_per_group=_ROWS_PER_GROUP)
        if references is not None:
            _require_embedded(context, references, read_files(spark, context.folder, files) if files else None)
    remove_unlisted(context.folder, files)
    num_embedded = sum(file.rows for file in files)
    context.finish(
        counts={"rows": num_embedded, "pictures": num_pictures, "undecodable": num_pictures - num_embedded},
        files=files,
        summary=f"{num_embedded:,} pictures embedded, {num_pictures - num_embedded:,} cannot be decoded",
    )


def _require_embedded(context: JobContext, references: DataFrame, embeddings: DataFrame | None) -> None:
    """Refuse a model without a vector for references: training pictures could not be compared with these."""
    readable = references.where(F.col("decode") == DECODE_OK).select(IMAGE_ID).distinct()
    num_readable = readable.count()
    lost = readable
    if embeddings is not None:
        good = embeddings.where(F.exists(EMBEDDING, lambda value: value != 0)).select(IMAGE_ID)
        lost = readable.join(good, on=IMAGE_ID, how="left_anti")
    num_lost = lost.count()
    if num_lost > num_readable * context.settings.reference.max_unreadable_fraction:
        raise UserError(
            f"the embedding model gives no vector for {num_lost:,} of {num_readable:,} pictures that must not be "
            f"trained on, the first {min(row[IMAGE_ID] for row in lost.take(100))}; choose another embed.model"
        )


def _embedder(context: JobContext) -> Embedder:
    """The exported model if the run has one, else the model that the settings name."""
    settings = context.settings.embed
    if "onnx" in context.parents:
        settings = exported(context.parents["onnx"], batch_size=settings.batch_size)
    return read_embedder(settings)


if __name__ == "__main__":
    sys.exit(run_job("embed", embed_pictures))
