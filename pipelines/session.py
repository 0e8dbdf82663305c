"""The only place that builds a SparkSession."""

from pyspark import SparkConf
from pyspark.sql import SparkSession

_DEFAULTS = {
    # One Arrow batch of pictures stays small in both directions; rows of a hash table pay little for it.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "512",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(32 << 20),
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def build_session(app_name: str) -> SparkSession:
    """The session of one job.

    The master and the memory come from spark-submit, never from code; a setting that the user gave there or in
    spark-defaults.conf wins over ours.
    """
    given = SparkConf()
    builder = SparkSession.builder.appName(app_name)
    for key, value in _DEFAULTS.items():
        if not given.contains(key):
            builder = builder.config(key, value)
    spark = builder.getOrCreate()
    if not given.contains("spark.sql.shuffle.partitions"):
        # Spark's 200 are mostly empty tasks on a small machine, while adaptive execution only merges and never splits.
        spark.conf.set("spark.sql.shuffle.partitions", str(4 * spark.sparkContext.defaultParallelism))
    return spark
