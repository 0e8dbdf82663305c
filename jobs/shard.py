"""The job that writes the dataset: kept pictures in shards, and the table of labels beside them."""

import sys
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.entry import JobContext, run_job
from jobs.spark_work import names_everywhere, read_artefact, read_everywhere, spark_session
from pipelines import manifest
from pipelines.align import aligner_of
from pipelines.columns import dataset_columns, dataset_schema
from pipelines.dataset_card import CARD_NAME, dataset_card
from pipelines.durable import write_atomically
from pipelines.parquet import remove_unlisted, write_files, write_table
from pipelines.records import DECISIONS, IDENTITY, KEPT, LABEL, LABELS, MERGED_INTO, RECORDS, SPLIT
from pipelines.shard import count_alignment, index_labels, place_rows, shard


def write_dataset(context: JobContext) -> None:
    """Write the shards of every split, labels.parquet, and the manifest."""
    settings = context.settings
    columns = dataset_columns(settings.shard.columns, are_aligned=settings.shard.align_px is not None)
    num_kept = manifest.read(context.parents["decisions"]).counts[KEPT]
    manifest.clear(context.folder)
    with spark_session(context) as spark:
        decisions = read_artefact(spark, context.parents["decisions"], DECISIONS)
        records = read_everywhere(spark, context, "records", RECORDS)
        placed = place_rows(decisions, settings.shard, seed=settings.seed)
        align = aligner_of(settings.shard, settings.pixels)
        aligned = count_alignment(records, placed) if align else {}
        rows = shard(records, placed, align, columns, name=names_everywhere(context, "records"))
        files = write_files(
            rows,
            context.folder,
            schema=dataset_schema(columns),
            rows_per_group=settings.shard.rows_per_group,
            with_digests=True,
        )
        labels = _label_table(decisions, placed)
    num_rows = sum(file.rows for file in files)
    assert num_rows == num_kept, f"{num_kept} kept pictures became {num_rows} rows of the dataset"
    files.append(write_table(labels, context.folder, "labels"))
    remove_unlisted(context.folder, files)
    splits = _summary(labels)
    card = context.folder / CARD_NAME
    write_atomically(card, dataset_card(context.folder.name, splits, columns).encode())
    files.append(manifest.describe(context.folder, card))
    counts = {"rows": num_rows, **{f"aligned:{by}": count for by, count in aligned.items()}}
    summary = ", ".join(f"{name} {side['rows']:,} images of {side['classes']:,}" for name, side in splits.items())
    if aligned:
        summary += "; aligned by " + ", ".join(f"{by} {count:,}" for by, count in aligned.items())
    context.finish(counts=counts, files=files, summary=summary, facts={"splits": splits})


def _label_table(decisions: DataFrame, placed: DataFrame) -> pa.Table:
    counted = (
        decisions.where(F.col("status") == KEPT)
        .groupBy(SPLIT, LABEL, F.coalesce(MERGED_INTO, IDENTITY).alias(IDENTITY))
        .agg(F.count(F.lit(1)).alias("num_images"))
        .join(index_labels(placed), on=[SPLIT, LABEL], how="inner")
        .orderBy(SPLIT, LABEL)
    )
    return counted.toArrow().select(LABELS.names).cast(LABELS)


def _summary(labels: pa.Table) -> dict[str, Any]:
    """Rows, classes and the spread of images per class, by split."""
    grouped = labels.group_by(SPLIT).aggregate(
        [("num_images", kind) for kind in ("sum", "count", "min", "approximate_median", "max")]
    )
    return {
        row[SPLIT]: {
            "rows": row["num_images_sum"],
            "classes": row["num_images_count"],
            "images_per_class": {
                "min": row["num_images_min"],
                "median": row["num_images_approximate_median"],
                "max": row["num_images_max"],
            },
        }
        for row in sorted(grouped.to_pylist(), key=lambda row: str(row[SPLIT]))
    }


if __name__ == "__main__":
    sys.exit(run_job("shard", write_dataset))
