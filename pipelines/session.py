"""The only place that builds a SparkSession."""

from pyspark.sql import SparkSession

_DEFAULTS = {
    # One Arrow batch of pictures stays small in both directions; rows of a hash table pay little for it.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "512",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(32 << 20),
    "spark.sql.session.timeZone": "UTC",
}


def build_session(app_name: str) -> SparkSession:
    """The session of one job.

    The master and the memory come from spark-submit, never from code; a setting that the user gave there or in
    spark-defaults.conf wins over ours.
    """
    spark = SparkSession.builder.appName(app_name).getOrCreate()
    # Asked of the context, since before it exists nothing in Python knows what spark-submit was told.
    given = spark.sparkContext.getConf()
    # Spark's 200 partitions are mostly empty on a small machine, while adaptive execution only merges and never splits.
    partitions = {"spark.sql.shuffle.partitions": str(4 * spark.sparkContext.defaultParallelism)}
    for key, value in (_DEFAULTS | partitions).items():
        if not given.contains(key):
            spark.conf.set(key, value)
    return spark
