"""The only place that builds a SparkSession."""

from collections.abc import Mapping

from pyspark.sql import SparkSession

DEFAULTS = {
    "spark.sql.execution.arrow.maxBytesPerBatch": str(32 << 20),
    "spark.sql.session.timeZone": "UTC",
    "parquet.page.verify-checksum.enabled": "true",  # of parquet-java, which takes the session's settings as Hadoop's
}


# An Arrow batch of pictures must stay small; for rows of numbers small batches take four times as long.
PICTURES_PER_BATCH = 512
NUMBERS_PER_BATCH = 8192


def build_session(
    app_name: str, *, rows_per_batch: int = PICTURES_PER_BATCH, secrets: Mapping[str, str] | None = None
) -> SparkSession:
    """The session of one job.

    The master and the memory come from spark-submit, never from code; a setting given there or in spark-defaults.conf
    takes precedence over those of this file.

    Args:
        secrets: settings that must not stand in the command line of spark-submit.
    """
    spark = SparkSession.builder.appName(app_name).config(map=dict(secrets or {})).getOrCreate()
    # Read from the context, since before it exists Python does not know the options of spark-submit.
    given = spark.sparkContext.getConf()
    # Spark's 200 partitions are mostly empty on a small machine; adaptive execution only merges, never splits.
    chosen = {
        "spark.sql.shuffle.partitions": str(4 * spark.sparkContext.defaultParallelism),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(rows_per_batch),
    }
    for key, value in (DEFAULTS | chosen).items():
        if not given.contains(key):
            spark.conf.set(key, value)
    return spark
