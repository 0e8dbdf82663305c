"""Source to records, in one fused Arrow pass: read, digest, decode, measure, hash."""

import hashlib
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from pipelines import sources
from pipelines.measure import examine
from pipelines.parquet import FILE
from pipelines.pixels import PixelSettings
from pipelines.records import IMAGE, RECORDS, ROWS
from pipelines.sources import Chunk, RawImage, SourceSettings

UNREADABLE = "unreadable"  # listed, but its bytes could not be read

# A task holds at most about this much of raw bytes, however large its chunk is.
_BATCH_BYTES = 8 << 20
_BATCH_IMAGES = 256

_CHUNK_SCHEMA = "index long, kind string, path string, names array<binary>, offsets array<bigint>, sizes array<bigint>"


def list_chunks(spark: SparkSession, settings: SourceSettings) -> DataFrame:
    """The source's chunks as a DataFrame, one row and one partition each."""
    rows = [(c.index, c.kind, c.path, c.names, c.offsets, c.sizes) for c in sources.chunks(settings)]
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, max(1, len(rows))), _CHUNK_SCHEMA)


def ingest(chunks: DataFrame, settings: PixelSettings) -> DataFrame:
    """Turn chunks into records.

    Args:
        chunks: as `list_chunks` makes them.

    Returns:
        The columns of `records.RECORDS` and `file`, the Parquet file that the row belongs to: one per chunk.
    """

    def read_and_examine(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                yield from _records_of(Chunk(**row), settings)

    return chunks.mapInArrow(read_and_examine, records_schema())


def records_schema() -> StructType:
    """The schema that `ingest` returns, in Spark's types."""
    return from_arrow_schema(RECORDS.append(pa.field(FILE, pa.string())))


def _records_of(chunk: Chunk, settings: PixelSettings) -> Iterator[pa.RecordBatch]:
    file = f"{ROWS}/{chunk.index:06d}"
    waiting: list[RawImage] = []
    num_bytes = 0
    for raw in sources.read(chunk):
        waiting.append(raw)
        num_bytes += len(raw.data or b"")
        if len(waiting) >= _BATCH_IMAGES or num_bytes >= _BATCH_BYTES:
            yield _examine(waiting, file, settings)
            waiting, num_bytes = [], 0
    if waiting:
        yield _examine(waiting, file, settings)


def _examine(raws: list[RawImage], file: str, settings: PixelSettings) -> pa.RecordBatch:
    contents = [raw.data or b"" for raw in raws]
    measured = examine(contents, settings)
    columns = {name: measured.column(name) for name in measured.schema.names}
    faults = columns["decode"].to_pylist()
    columns["decode"] = pa.array(
        [UNREADABLE if raw.data is None else fault for raw, fault in zip(raws, faults, strict=True)], pa.string()
    )
    columns |= {
        "image_id": pa.array([hashlib.sha256(content).hexdigest() for content in contents], pa.string()),
        "source": pa.array([raw.source for raw in raws], pa.string()),
        "identity": pa.array([raw.identity for raw in raws], pa.string()),
        IMAGE: pa.array(contents, pa.binary()),
        FILE: pa.array([file] * len(raws), pa.string()),
    }
    return pa.RecordBatch.from_pydict({name: columns[name] for name in [*RECORDS.names, FILE]})
