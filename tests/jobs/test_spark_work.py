"""jobs/spark_work: a table of an artefact is the files that the manifest lists in its folder."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from jobs.spark_work import read_artefact
from pipelines import manifest, session, store
from pipelines.parquet import write_table
from pipelines.settings import UserError

VERIFY = "parquet.page.verify-checksum.enabled"

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


@pytest.mark.spark
def test_no_byte_of_a_table_changes_what_spark_reads(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an artefact too large to be compared beforehand: by its footer, and by the checksums of its pages."""
    monkeypatch.setattr(store, "_WHOLE_BYTES", 0)
    spark.conf.set(VERIFY, session.DEFAULTS[VERIFY])
    folder = tmp_path / "decisions" / "f"
    rng = random.Random(0)
    names = [rng.choice(["ann", "ben", None]) for _ in range(300)]
    table = pa.table({"name": names, "distance": [rng.randrange(1 << 20) for _ in names]}, schema=SCHEMA)
    file = write_table(table, folder, "rows/000000")
    manifest.write(folder, manifest.Manifest(**CONTENT, files=(file,)))
    path = folder / file.path
    whole = path.read_bytes()
    num_refused = 0
    for position in rng.sample(range(len(whole)), 30):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            store.Store(tmp_path).verified("decisions", "f")
            rows = read_artefact(spark, folder, SCHEMA).collect()
        except UserError:
            num_refused += 1
        except Py4JJavaError:
            num_refused += 1
        else:
            assert [tuple(row) for row in rows] == list(zip(*table.to_pydict().values(), strict=True)), position
    spark.conf.unset(VERIFY)
    assert num_refused > 15
