"""The shards of a dataset: kept pictures in a seeded pseudo-random order, in files of equal size.

The shard and the place of a picture depend on its `image_id`, its label, the seed and the number of kept pictures
alone, so the same input gives the same shards byte for byte on every cluster. The order is that of the pictures (layout
`instance`), or that of the identities, each whole inside a row group (layout `identity`). Pictures are stored as found
or, if the settings say so, aligned.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from pipelines.columns import DatasetColumn, dataset_columns
from pipelines.parquet import FILE, GROUP
from pipelines.pictures import check_pictures
from pipelines.records import FACE_BOX, FACE_LANDMARKS, IMAGE, IMAGE_ID, KEPT, LABEL, SOURCE, SPLIT
from pipelines.settings import ShardSettings
from pipelines.tables.frames import order_digest, with_row_number

_PLACES = {FILE: pa.string(), GROUP: pa.int64(), "place": pa.int64()}

STANDARD = dataset_columns()
Align = Callable[[bytes, list[float] | None, list[float] | None], bytes]  # image, box, landmarks


def place_rows(decisions: DataFrame, settings: ShardSettings, *, seed: int) -> DataFrame:
    """Give every kept row its file and its place there: image_id, source, label, split, file, group, place.

    `place` counts the rows of the split; `group` its row groups, for the identity layout, and is null for the other,
    whose row groups are equal.
    """
    kept = decisions.where(F.col("status") == KEPT).select(IMAGE_ID, SOURCE, LABEL, SPLIT)
    sizes = {row[SPLIT]: row["count"] for row in kept.groupBy(SPLIT).count().collect()}
    place = _place_identities if settings.layout == "identity" else _place_instances
    sides = [place(kept.where(F.col(SPLIT) == split), split, size, settings, seed) for split, size in sizes.items()]
    placed = sides[0]
    for side in sides[1:]:
        placed = placed.unionByName(side)
    return placed


def _place_instances(rows: DataFrame, split: str, size: int, settings: ShardSettings, seed: int) -> DataFrame:
    num_files = -(-size // settings.rows_per_file)
    ranked = with_row_number(rows, IMAGE_ID, seed=seed, name="place")
    # Equal files to within one row: a short last file would be uneven work for readers.
    index = F.floor(F.col("place") * num_files / size)
    return ranked.withColumn(FILE, _file_name(split, index)).withColumn(GROUP, F.lit(None).cast("long"))


def _place_identities(rows: DataFrame, split: str, size: int, settings: ShardSettings, seed: int) -> DataFrame:
    """Identities in the order of their labels, which is pseudo-random; a row group ends with an identity."""
    counts = rows.groupBy(LABEL).count().orderBy(LABEL).toArrow()
    starts = np.cumsum(counts["count"].to_numpy()) - counts["count"].to_numpy()
    # The group in whose span an identity begins takes all of it; spans in which none begins leave no group.
    _, groups = np.unique(starts // settings.rows_per_group, return_inverse=True)
    num_files = -(-size // settings.rows_per_file)
    first_of_group = starts[np.searchsorted(groups, groups)]
    table = pa.table(
        {LABEL: counts[LABEL], "_start": starts, GROUP: groups, "_file": first_of_group * num_files // size}
    )
    placed = rows.join(rows.sparkSession.createDataFrame(table), on=LABEL, how="inner")
    within = Window.partitionBy(LABEL).orderBy(order_digest(F.col(IMAGE_ID), seed), IMAGE_ID)
    return (
        placed.withColumn("place", F.col("_start") + F.row_number().over(within) - 1)
        .withColumn(FILE, _file_name(split, F.col("_file")))
        .select(IMAGE_ID, SOURCE, LABEL, SPLIT, FILE, GROUP, "place")
    )


def index_labels(placed: DataFrame) -> DataFrame:
    """The place of each identity: split, label, row_group, first_row; the last two null where identities are mixed."""
    of_group = Window.partitionBy(SPLIT, GROUP)
    first = F.min("place").over(of_group)
    where = placed.withColumn("first_row", F.when(F.col(GROUP).isNotNull(), F.col("place") - first))
    return where.groupBy(SPLIT, LABEL).agg(F.min(GROUP).alias("row_group"), F.min("first_row").alias("first_row"))


def _file_name(split: str, index: Column) -> Column:
    return F.concat(F.lit(f"{split}/"), F.lpad(index.cast("string"), 6, "0"))


def shard(
    records: DataFrame,
    placed: DataFrame,
    align: Align | None = None,
    columns: Sequence[DatasetColumn] = STANDARD,
    *,
    name: str = "the records",
) -> DataFrame:
    """The rows of the dataset, each file's in one partition and in order: the columns, `file` and `group`.

    Args:
        records: image_id, source and the inputs of the columns; to align also face_box and face_landmarks.
        placed: as `place_rows` makes it.
        align: makes of a picture as found the one to be stored; without it the bytes are stored as found.
        name: of the records, for the message on a picture that is not the one that was taken in.
    """
    inputs = list(dict.fromkeys(name for column in columns for name in column.inputs))
    faces = [] if align is None else [FACE_BOX, FACE_LANDMARKS]
    found = [name for name in dict.fromkeys([*inputs, *faces]) if name not in placed.columns]
    joined = records.select(IMAGE_ID, SOURCE, *found).join(placed, on=[IMAGE_ID, SOURCE], how="inner")
    rows = joined.select(*dict.fromkeys([*inputs, *faces, *_PLACES]))
    if align is not None:
        # Before the shuffle: an aligned face is small, and there are more partitions of records than files.
        rows = _aligned(rows, align, inputs, name)
    num_files = placed.select(FILE).distinct().count()
    in_order = rows.repartition(num_files, FILE).sortWithinPartitions(FILE, "place")
    types = {**{column.name: _in_spark(column.type) for column in columns}, FILE: pa.string(), GROUP: pa.int64()}

    def make(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in _each_place_once(batches):
            if align is None:
                _check(batch, name)
            made = {column.name: _values(column, batch) for column in columns}
            places = {name: batch.column(name) for name in (FILE, GROUP)}
            yield pa.RecordBatch.from_pydict(
                {name: array.cast(types[name]) for name, array in {**made, **places}.items()}
            )

    return in_order.mapInArrow(make, from_arrow_schema(pa.schema(types.items())))


def _values(column: DatasetColumn, batch: pa.RecordBatch) -> pa.Array:
    inputs = [batch.column(name) for name in column.inputs]
    return inputs[0] if column.make is None else column.make(*inputs)


def _in_spark(kind: pa.DataType) -> pa.DataType:
    """The type while the rows go through Spark, which knows no lists of a fixed size."""
    return pa.list_(kind.value_type) if pa.types.is_fixed_size_list(kind) else kind


def count_alignment(records: DataFrame, placed: DataFrame) -> dict[str, int]:
    """The numbers of pictures that are aligned by landmarks, by box, and by the centre where no face is known."""
    by = F.when(F.col(FACE_LANDMARKS).isNotNull(), "landmarks").when(F.col(FACE_BOX).isNotNull(), "box")
    known = records.select(IMAGE_ID, SOURCE, F.coalesce(by, F.lit("centre")).alias("by")).distinct()
    counts = placed.select(IMAGE_ID, SOURCE).join(known, on=[IMAGE_ID, SOURCE], how="inner").groupBy("by").count()
    found = {row["by"]: row["count"] for row in counts.collect()}
    return {by: found.get(by, 0) for by in ("landmarks", "box", "centre")}


def _check(batch: pa.RecordBatch, name: str) -> None:
    images = (image.as_buffer() for image in batch.column(IMAGE))
    check_pictures(batch.column(IMAGE_ID).to_pylist(), images, records=name)


def _aligned(rows: DataFrame, align: Align, inputs: Sequence[str], name: str) -> DataFrame:
    """The inputs of the columns and the places of the rows, with aligned pictures."""
    schema = rows.select(*inputs, *_PLACES).schema
    names = schema.names

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            _check(batch, name)
            faces = (batch.column(name).to_pylist() for name in (IMAGE, FACE_BOX, FACE_LANDMARKS))
            images = pa.array([align(*face) for face in zip(*faces, strict=True)], pa.binary())
            columns = {name: batch.column(name) for name in names}
            yield pa.RecordBatch.from_pydict({**columns, IMAGE: images})

    return rows.mapInArrow(work, schema)


def _each_place_once(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """An archive or a list may hold a picture twice under one name: two records, of equal bytes, answer to one key."""
    before = None
    for batch in batches:
        keys = list(zip(batch.column(FILE).to_pylist(), batch.column("place").to_pylist(), strict=True))
        is_new = [key != last for last, key in zip([before, *keys], keys, strict=False)]
        before = keys[-1] if keys else before
        yield batch if all(is_new) else batch.filter(pa.array(is_new))
