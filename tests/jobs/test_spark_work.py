"""jobs/spark_work: a table of an artefact is the files that the manifest lists in its folder."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.spark_work import read_artefact
from pipelines import manifest
from pipelines.parquet import write_table

SCHEMA = pa.schema([("name", pa.string()), ("distance", pa.int32())])
CONTENT = {
    "kind": "decisions",
    "fingerprint": "f",
    "code_version": "c",
    "parents": {},
    "settings": {},
    "counts": {},
}


@pytest.mark.spark
def test_each_table_is_read_alone_and_nothing_that_the_manifest_does_not_list(
    spark: SparkSession, tmp_path: Path
) -> None:
    names = ("rows/000000", "rows/000001", "rejected/000000", "rows_of_another/000000")
    files = [write_table(pa.table({"name": [name]}), tmp_path, name) for name in names]
    write_table(pa.table({"name": ["left over"]}), tmp_path, "rows/000002")
    manifest.write(tmp_path, manifest.Manifest(**CONTENT, files=tuple(files)))
    assert sorted(row["name"] for row in read_artefact(spark, tmp_path, SCHEMA).collect()) == [
        "rows/000000",
        "rows/000001",
    ]
    assert [row["name"] for row in read_artefact(spark, tmp_path, SCHEMA, table="rejected").collect()] == [
        "rejected/000000"
    ]


@pytest.mark.spark
def test_a_table_without_a_file_has_no_rows_and_its_columns(spark: SparkSession, tmp_path: Path) -> None:
    manifest.write(tmp_path, manifest.Manifest(**CONTENT, files=()))
    empty = read_artefact(spark, tmp_path, SCHEMA)
    assert [(field.name, field.dataType.typeName()) for field in empty.schema] == [
        ("name", "string"),
        ("distance", "integer"),
    ]
    assert empty.collect() == []
