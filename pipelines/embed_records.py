"""Records to embeddings, in one Arrow pass: decode, show, and ask the model, once per distinct picture."""

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
    records: DataFrame, embedder: Embedder, limits: PixelSettings, align: Aligner | None = None
) -> DataFrame:
    """What a model makes of every distinct picture, shown as a dataset would hold it.

    Args:
        records: `records.RECORDS`; more than one set of them may be laid together.
        limits: what a picture may cost.
        align: as in `shard.shard`; without it pictures are shown as they were found.

    Returns:
        `records.EMBEDDINGS`, one row per `image_id`, none for a picture that cannot be decoded.
    """
    good = records.where(F.col("decode") == DECODE_OK)
    faces = [] if align is None else [FACE_BOX, FACE_LANDMARKS]
    # The model goes to each executor once, and not with every task.
    shipped = records.sparkSession.sparkContext.broadcast(embedder)
    once, has_twins = _once(good.select(IMAGE_ID, SOURCE, IMAGE, *faces))
    rows = once.select(IMAGE_ID, IMAGE, *faces).mapInArrow(_Pass(shipped, limits, align), _ROWS)
    return rows.dropDuplicates([IMAGE_ID]) if has_twins else rows


def count_pictures(records: DataFrame) -> int:
    """How many distinct pictures there are, those that cannot be decoded among them."""
    return records.select(IMAGE_ID).distinct().count()


def _once(rows: DataFrame) -> tuple[DataFrame, bool]:
    """Leave one row of equal bytes, without moving any bytes; and whether equal bytes share a source all the same."""
    sources = rows.groupBy(IMAGE_ID).agg(
        F.count(F.lit(1)).alias("rows"), F.countDistinct(SOURCE).alias("sources"), F.min(SOURCE).alias("first")
    )
    repeated = sources.where(F.col("rows") > 1).persist()
    has_twins = not repeated.where(F.col("rows") > F.col("sources")).isEmpty()
    # Few pictures of a collection lie in more than one place, so what is left out is told to all.
    others = rows.select(IMAGE_ID, SOURCE).join(F.broadcast(repeated), on=IMAGE_ID, how="inner")
    surplus = others.where(F.col(SOURCE) != F.col("first")).select(IMAGE_ID, SOURCE)
    return rows.join(F.broadcast(surplus), on=[IMAGE_ID, SOURCE], how="left_anti"), has_twins


class _Pass:
    """What each task does with its Arrow batches."""

    def __init__(self, shipped: "Broadcast[Embedder]", limits: PixelSettings, align: Aligner | None) -> None:
        self._shipped, self._limits, self._align = shipped, limits, align

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        embedder = self._shipped.value
        size = embedder.settings.batch_size
        for batch in batches:
            # Few at a time: pictures as they were found can be large.
            for start in range(0, batch.num_rows, size):
                yield self._embed(embedder, batch.slice(start, size))

    def _embed(self, embedder: Embedder, batch: pa.RecordBatch) -> pa.RecordBatch:
        names, shown = [], []
        for row in batch.to_pylist():
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
