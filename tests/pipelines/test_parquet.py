"""pipelines/parquet: exact row groups in files that any reader takes, and no trace of killed tasks."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.column_digest import column_digest
from pipelines.parquet import FILE, describe_parquet, remove_unlisted, write_files, write_runs, write_table

SCHEMA = pa.schema([("name", pa.string()), ("image", pa.binary())], metadata={"note": "kept"})


@pytest.mark.spark
@pytest.mark.parametrize("rows_per_group", [1, 3, 7, 100])
def test_row_groups_are_exact_and_rows_keep_their_order(
    spark: SparkSession, tmp_path: Path, rows_per_group: int
) -> None:
    rows = [(f"{index:02d}", bytes([index]), f"part/{index // 10}") for index in range(25)]
    frame = spark.createDataFrame(rows, "name string, image binary, file string").coalesce(1)
    files = write_files(frame, tmp_path, schema=SCHEMA, rows_per_group=rows_per_group)
    assert [(file.path, file.rows) for file in files] == [
        ("part/0.parquet", 10),
        ("part/1.parquet", 10),
        ("part/2.parquet", 5),
    ]
    for file in files:
        footer = pq.read_metadata(tmp_path / file.path)
        sizes = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
        assert sizes == [group.rows for group in file.row_groups]
        assert all(size == rows_per_group for size in sizes[:-1])
    table = pq.read_table(tmp_path / "part")
    assert table["name"].to_pylist() == [row[0] for row in rows]
    assert table.schema.metadata[b"note"] == b"kept"


@pytest.mark.spark
def test_pictures_are_stored_uncompressed_and_read_only_when_asked_for(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame([("a", b"x" * 1000, "f")], "name string, image binary, file string")
    write_files(frame, tmp_path, schema=SCHEMA, rows_per_group=10)
    column = pq.read_metadata(tmp_path / "f.parquet").row_group(0).column(1)
    assert (column.path_in_schema, column.compression, column.statistics) == ("image", "UNCOMPRESSED", None)


def test_a_small_table_is_one_file(tmp_path: Path) -> None:
    table = pa.table({"name": ["a", "b"], "image": [b"1", b"2"]}, schema=SCHEMA)
    file = write_table(table, tmp_path, "labels")
    assert (file.path, file.rows) == ("labels.parquet", 2)
    assert pq.read_table(tmp_path / "labels.parquet").equals(table)


def test_what_a_killed_task_left_is_removed(tmp_path: Path) -> None:
    table = pa.table({"name": ["a"], "image": [b"1"]}, schema=SCHEMA)
    file = write_table(table, tmp_path, "labels")
    (tmp_path / ".labels.parquet.4711").write_bytes(b"half a file")
    remove_unlisted(tmp_path, [file])
    assert [path.name for path in tmp_path.iterdir()] == ["labels.parquet"]


def test_large_rows_end_a_row_group_before_it_is_full(tmp_path: Path) -> None:
    schema = pa.schema([("image", pa.binary())])
    row = pa.record_batch([[b"x" * 1000], ["rows/a"]], names=["image", FILE])
    (file,) = write_runs([row] * 10, tmp_path, schema=schema, rows_per_group=8, bytes_per_group=3000)
    assert [group.rows for group in file.row_groups] == [3, 3, 3, 1]
    (small,) = write_runs([row] * 10, tmp_path, schema=schema, rows_per_group=8, bytes_per_group=1 << 20)
    assert [group.rows for group in small.row_groups] == [8, 2]


def test_a_cut_file_is_no_parquet_file(tmp_path: Path) -> None:
    table = pa.table({"a": list(range(100))})
    file = write_table(table, tmp_path, "whole")
    path = tmp_path / file.path
    assert describe_parquet(tmp_path, path) == file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises((OSError, pa.ArrowException)):
        describe_parquet(tmp_path, path)


def test_every_page_has_a_checksum_and_every_row_group_the_digests_of_its_columns(tmp_path: Path) -> None:
    columns = {"name": [str(at) for at in range(20)], "image": [bytes([at]) * 50 for at in range(20)]}
    rows = pa.table({**columns, FILE: ["rows/0"] * 20})
    (file,) = write_runs(rows.to_batches(), tmp_path, schema=SCHEMA, rows_per_group=8, with_digests=True)
    path = tmp_path / file.path
    with pq.ParquetFile(path) as written:
        groups = [written.read_row_group(at)["name"] for at in range(3)]
        chunks = [written.metadata.row_group(at).column(place) for at in range(3) for place in range(len(SCHEMA.names))]
    assert [group.digests for group in file.row_groups] == [(("name", column_digest(names)),) for names in groups]
    whole = path.read_bytes()
    for chunk in chunks:
        damaged = bytearray(whole)
        start = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
        damaged[start + chunk.total_compressed_size - 1] ^= 1
        path.write_bytes(damaged)
        pq.read_metadata(path)
        with pytest.raises(OSError, match="CRC"):
            pq.read_table(path, page_checksum_verification=True)
