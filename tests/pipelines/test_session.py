"""pipelines/session: our defaults hold unless spark-submit said otherwise, and the master is never ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from pipelines.session import build_session
spark = build_session("probe")
print("spark.verifies", spark.conf.get("parquet.page.verify-checksum.enabled"))
for key in ("spark.sql.shuffle.partitions", "spark.sql.execution.arrow.maxRecordsPerBatch", "spark.master"):
    print(key, spark.conf.get(key))
"""


@pytest.mark.spark
def test_what_spark_submit_says_wins(tmp_path: Path) -> None:
    script = tmp_path / "probe.py"
    script.write_text(SCRIPT)
    submit = str(Path(sys.executable).parent / "spark-submit")
    given = ("--master", "local[3]", "--conf", "spark.sql.execution.arrow.maxRecordsPerBatch=77")
    ended = subprocess.run(
        [submit, *given, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
    )
    said = dict(line.split() for line in ended.stdout.splitlines() if line.startswith("spark."))
    assert said == {
        "spark.verifies": "true",
        "spark.sql.shuffle.partitions": "12",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "77",
        "spark.master": "local[3]",
    }
