"""pipelines/spark_daemon: Spark's workers are forked from it, with everything loaded and nothing read again."""

import sys

import pytest
from pyspark.sql import SparkSession


@pytest.mark.spark
def test_workers_are_forked_with_the_decoders_loaded_and_read_no_archive_again(spark: SparkSession) -> None:
    def look(_: int) -> tuple[bool, bool, int]:
        import gc
        import zipimport

        # Not `sys.modules` of this closure's own imports: cv2 is only there if the daemon loaded it.
        return (
            "cv2" in sys.modules,
            zipimport.zipimporter.invalidate_caches.__module__ != "zipimport",
            gc.get_freeze_count(),
        )

    seen = spark.sparkContext.parallelize(range(4), 4).map(look).collect()
    assert all(is_loaded and is_quiet for is_loaded, is_quiet, _ in seen)
    assert min(frozen for *_, frozen in seen) > 10_000
