"""The only place that builds a SparkSession."""

from pyspark.sql import SparkSession

_DEFAULTS = {
    "spark.sql.execution.arrow.maxBytesPerBatch": str(32 << 20),
    "spark.sql.session.timeZone": "UTC",
}


# One Arrow batch of pictures stays small in both directions; rows of numbers would pay four times over for that.
PICTURES_PER_BATCH = 512
NUMBERS_PER_BATCH = 8192


def build_session(app_name: str, *, rows_per_batch: int = PICTURES_PER_BATCH) -> SparkSession:
    """The session of one job.

    The master and the memory come from spark-submit, never from code; a setting that the user gave there or in
    spark-defaults.conf wins over ours.
    """
    spark = SparkSession.builder.appName(app_name).getOrCreate()
    # Asked of the context, since before it exists nothing in Python knows what spark-submit was told.
    given = spark.sparkContext.getConf()
    # Spark's 200 partitions are mostly empty on a small machine, while adaptive execution only merges and never splits.
    chosen = {
        "spark.sql.shuffle.partitions": str(4 * spark.sparkContext.defaultParallelism),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(rows_per_batch),
    }
    for key, value in (_DEFAULTS | chosen).items():
        if not given.contains(key):
            spark.conf.set(key, value)
    return spark
