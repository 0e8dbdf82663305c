"""Embeddings of records, in one Arrow pass: decode, crop and resize, run the model, once per distinct picture."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.align import Aligner
from pipelines.decode_faults import DecodeError
from pipelines.embedder import Embedder
from pipelines.guard import guarded_decode
from pipelines.pictures import check_pictures
from pipelines.records import (
    DECODE_OK,
    EMBEDDING,
    EMBEDDINGS,
    FACE_BOX,
    FACE_LANDMARKS,
    IMAGE,
    IMAGE_ID,
    SOURCE,
)
from pipelines.settings import PixelSettings
from pipelines.tables.arrow import to_lists

_ROWS = f"{IMAGE_ID} string, {EMBEDDING} array<float>"


def embed_records(
    records: DataFrame,
    embedder: Embedder,
    limits: PixelSettings,
    align: Aligner | None = None,
    *,
    name: str = "the records",
) -> DataFrame:
    """The embedding of every distinct picture, which the model sees as a dataset would store it.

    Args:
        records: `records.RECORDS`, of one or several deliveries.
        limits: the limits of decoding.
        align: as in `shard.shard`; without it pictures are embedded as found.
        name: as there.

    Returns:
        `records.EMBEDDINGS`, one row per `image_id`; pictures that cannot be decoded have none.
    """
    good = records.where(F.col("decode") == DECODE_OK)
    faces = [] if align is None else [FACE_BOX, FACE_LANDMARKS]
    # The model is sent to each executor once, not with every task.
    shipped = records.sparkSession.sparkContext.broadcast(embedder)
    once, has_twins = _once(good.select(IMAGE_ID, SOURCE, IMAGE, *faces))
    rows = once.select(IMAGE_ID, IMAGE, *faces).mapInArrow(_Pass(shipped, limits, align, name), _ROWS)
    return rows.dropDuplicates([IMAGE_ID]) if has_twins else rows


def count_pictures(records: DataFrame) -> int:
    """The number of distinct pictures, including those that cannot be decoded."""
    return records.select(IMAGE_ID).distinct().count()


def _once(rows: DataFrame) -> tuple[DataFrame, bool]:
    """Keep one row of equal bytes without shuffling any bytes; true if rows of equal bytes and source remain."""
    sources = rows.groupBy(IMAGE_ID).agg(
        F.count(F.lit(1)).alias("rows"), F.countDistinct(SOURCE).alias("sources"), F.min(SOURCE).alias("first")
    )
    repeated = sources.where(F.col("rows") > 1).persist()
    has_twins = not repeated.where(F.col("rows") > F.col("sources")).isEmpty()
    # Few pictures of a collection occur twice, so the surplus rows can be broadcast.
    others = rows.select(IMAGE_ID, SOURCE).join(F.broadcast(repeated), on=IMAGE_ID, how="inner")
    surplus = others.where(F.col(SOURCE) != F.col("first")).select(IMAGE_ID, SOURCE)
    return rows.join(F.broadcast(surplus), on=[IMAGE_ID, SOURCE], how="left_anti"), has_twins


class _Pass:
    """The work of each task on its Arrow batches."""

    def __init__(self, shipped: "Broadcast[Embedder]", limits: PixelSettings, align: Aligner | None, name: str) -> None:
        self._shipped, self._limits, self._align, self._name = shipped, limits, align, name

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        embedder = self._shipped.value
        size = embedder.settings.batch_size
        for batch in batches:
            # A few at a time: pictures as found can be large.
            for start in range(0, batch.num_rows, size):
                yield self._embed(embedder, batch.slice(start, size))

    def _embed(self, embedder: Embedder, batch: pa.RecordBatch) -> pa.RecordBatch:
        names, shown = [], []
        for row in batch.to_pylist():
            check_pictures([row[IMAGE_ID]], [row[IMAGE]], records=self._name)
            try:
                rgb = guarded_decode(self._as_stored(row), self._limits).rgb
            except DecodeError:
                continue
            names.append(row[IMAGE_ID])
            shown.append(embedder.show(rgb))
        vectors = embedder.embed(shown) if shown else np.empty((0, 0), np.float32)
        return pa.RecordBatch.from_arrays([pa.array(names, pa.string()), to_lists(vectors)], schema=EMBEDDINGS)

    def _as_stored(self, row: dict[str, Any]) -> bytes:
        image: bytes = row[IMAGE]
        return image if self._align is None else self._align(image, row[FACE_BOX], row[FACE_LANDMARKS])
