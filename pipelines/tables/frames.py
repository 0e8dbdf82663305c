"""Spark tables: reading files, broadcasting small tables, and numbering rows in a pseudo-random order.

The numbering sorts nothing in one task. Its order is that of sha256(seed, key), so it depends on content alone: not on
partitions, cores or retries. Since such digests are uniform, the counts of their leading digits give the offset of
every bucket.
"""

import functools
import re
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

_BUCKET_DIGITS = 3  # 4,096 buckets: a billion rows are 250,000 a bucket
# Of a few names and digests each: about 100 MB on every executor.
_MAX_BROADCAST_ROWS = 250_000
# The characters that make a name a pattern for Spark; a backslash takes that meaning away.
_PATTERN = re.compile(r"([{}\[\]*?\\^])")


def read_parquet(spark: SparkSession, *paths: Path, schema: StructType | None = None) -> DataFrame:
    """The rows of Parquet files or folders, by their names to the letter, whatever these contain."""
    reader = spark.read if schema is None else spark.read.schema(schema)
    names = [str(path) for path in paths]
    if not any(":" in name and _PATTERN.search(name) for name in names):
        return reader.parquet(*(_PATTERN.sub(r"\\\1", name) for name in names))
    # Hadoop fails at a colon where it looks for a pattern. Without patterns Spark reads each of several paths as often
    # as there are paths, so each is a table of its own.
    literal = reader.option("__globPaths__", "false")
    return functools.reduce(DataFrame.unionAll, [literal.parquet(name) for name in names])


def cached_broadcast(table: DataFrame) -> DataFrame:
    """Persist a table that is read more than once, and broadcast it to every executor where it is small enough."""
    cached = table.persist()
    return F.broadcast(cached) if cached.count() <= _MAX_BROADCAST_ROWS else cached


def with_row_number(rows: DataFrame, key: str, *, seed: int, name: str) -> DataFrame:
    """Add the column `name`: 0..n-1 in the pseudo-random order of the column `key`, whose values are unique."""
    ordered = rows.withColumn("_order", order_digest(F.col(key), seed)).withColumn(
        "_bucket", F.substring("_order", 1, _BUCKET_DIGITS)
    )
    counts = {row["_bucket"]: row["count"] for row in ordered.groupBy("_bucket").count().collect()}
    offsets, total = [], 0
    for bucket in sorted(counts):
        offsets.append((bucket, total))
        total += counts[bucket]
    offset_table = rows.sparkSession.createDataFrame(offsets, "_bucket string, _offset long")
    within = F.row_number().over(Window.partitionBy("_bucket").orderBy("_order", key)) - 1
    return (
        ordered.join(F.broadcast(offset_table), on="_bucket", how="inner")
        .withColumn(name, F.col("_offset") + within)
        .drop("_order", "_bucket", "_offset")
    )


def order_digest(key: Column, seed: int) -> Column:
    """The digest by which a pseudo-random order sorts: sha256 of the seed and the key, in hex."""
    return F.sha2(F.concat_ws("|", F.lit(str(seed)), key), 256)
