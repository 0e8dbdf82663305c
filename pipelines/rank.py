"""Number the rows of a table in a seeded pseudo-random order of their key, without sorting everything in one task.

The order is that of sha256(seed, key), so it depends on content alone: not on partitions, cores or retries. Since such
digests are uniform, counting them by their first digits gives every bucket its offset.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

_BUCKET_DIGITS = 3  # 4,096 buckets: a billion rows are 250,000 a bucket


def with_rank(rows: DataFrame, key: str, *, seed: int, name: str) -> DataFrame:
    """Add the column `name`: 0..n-1 in the pseudo-random order of the column `key`, whose values are unique."""
    ordered = rows.withColumn("_order", order_of(F.col(key), seed)).withColumn(
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


def order_of(key: Column, seed: int) -> Column:
    """The digest whose order is the pseudo-random one."""
    return F.sha2(F.concat_ws("|", F.lit(str(seed)), key), 256)
