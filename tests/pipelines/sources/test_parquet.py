"""pipelines/sources/parquet: rows that pyarrow wrote come back, whatever their types; damage leaves the count."""

import json
import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.settings import UserError
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings

DATA = [b"one", b"", b"three" * 100, b"four"]
WHO = ["ann", "bob", "ann", None]


def source(path: Path | str, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "parquet", "path": str(path), **values})


def write(path: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, path, **options)
    return path


def plain(kind: pa.DataType | None = None, **columns: object) -> pa.Table:
    return pa.table({"image": pa.array(DATA, kind or pa.binary()), "identity": WHO, **columns})


def hugging_face(names: list[str]) -> pa.Table:
    """As `datasets` writes an image and a class: the class's name is in the metadata alone."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": data, "path": f"{place}.jpg"} for place, data in enumerate(DATA)], kind)
    label = {"names": names, "_type": "ClassLabel"}
    told = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    table = pa.table({"image": images, "label": pa.array([1, 0, 1, None], pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps(told)})


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_row_of_bytes_is_an_image_named_by_its_number(tmp_path: Path, kind: pa.DataType, read_rows) -> None:
    path = write(tmp_path / "a.parquet", plain(kind, other=[1, 2, 3, 4]), row_group_size=3)
    assert [(row.source, row.identity, row.data) for row in read_rows(source(path))] == [
        (f"{path}!/{place}", who, data) for place, (who, data) in enumerate(zip(WHO, DATA, strict=True))
    ]


def test_hugging_faces_pictures_and_names_are_understood(tmp_path: Path, read_rows) -> None:
    path = write(tmp_path / "a.parquet", hugging_face(["Ann", "Bob"]))
    assert [(row.identity, row.data) for row in read_rows(source(path))] == list(
        zip(["Bob", "Ann", "Bob", None], DATA, strict=True)
    )


@pytest.mark.parametrize("names", [["Ann", "Bob"], [" Ann", "Bob "]])
@pytest.mark.parametrize("kind", [pa.int64(), pa.int16(), pa.float32(), pa.list_(pa.int64())])
def test_a_missing_class_is_nobody_and_a_class_has_its_name_in_any_type(
    tmp_path: Path, names: list[str], kind: pa.DataType, read_rows
) -> None:
    values = [0, 1, -1, None]
    is_list = pa.types.is_list(kind)
    labels = pa.array([None if value is None else [value] for value in values] if is_list else values, kind)
    feature: object = {"names": names, "_type": "ClassLabel"}
    feature = {"feature": feature, "_type": "Sequence"} if is_list else feature
    told = json.dumps({"info": {"features": {"label": feature}}})
    table = pa.table({"image": DATA, "label": labels}).replace_schema_metadata({"huggingface": told})
    path = write(tmp_path / "a.parquet", table)
    assert [row.identity for row in read_rows(source(path))] == ["Ann", "Bob", None, None]


def test_a_class_without_a_name_is_nobody_where_another_class_has_its_number_as_a_name(
    tmp_path: Path, read_rows
) -> None:
    path = write(tmp_path / "a.parquet", hugging_face(["1"]))
    assert [row.identity for row in read_rows(source(path))] == [None, "1", None, None]


@pytest.mark.parametrize(
    ("column", "chosen"),
    [("Identity", {}), ("LABEL", {}), ("label ", {}), ("Who", {"identity_column": "who"}), ("person", {})],
)
def test_a_column_is_found_in_any_case(tmp_path: Path, column: str, chosen: dict[str, str], read_rows) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"Image": DATA, column: WHO}))
    assert [(row.identity, row.data) for row in read_rows(source(path, **chosen))] == list(zip(WHO, DATA, strict=True))


def test_the_folders_of_sparks_partitions_are_the_identity(tmp_path: Path, read_rows) -> None:
    whos = {"alice": "alice", "Smith%2C Ann": "Smith, Ann", "a%2Fb%3Dc": "a/b=c", "1.0": "1", "-1": None}
    whos |= {"__HIVE_DEFAULT_PARTITION__": None}
    for who in whos:
        folder = tmp_path / "faces" / "date=2020-01-01" / f"identity={who}"
        folder.mkdir(parents=True)
        write(folder / "part-00000.snappy.parquet", plain().select(["image"]))
    found = {
        row.source.partition("identity=")[2].partition("/")[0]: row.identity for row in read_rows(source(tmp_path))
    }
    assert found == whos
    one = source(tmp_path / "faces" / "date=2020-01-01" / "identity=alice" / "part-00000.snappy.parquet")
    assert {row.identity for row in read_rows(one)} == {"alice"}
    assert {row.identity for row in read_rows(source(tmp_path, identity_column="Date"))} == {"2020-01-01"}


def test_a_column_goes_before_the_folder_of_a_lesser_name(tmp_path: Path, read_rows) -> None:
    (tmp_path / "label=3").mkdir()
    path = write(tmp_path / "label=3" / "a.parquet", plain())
    assert [row.identity for row in read_rows(source(path))] == WHO
    (tmp_path / "identity=eve").mkdir()
    path = write(tmp_path / "identity=eve" / "a.parquet", plain().rename_columns(["image", "label"]))
    assert [row.identity for row in read_rows(source(path))] == ["eve"] * 4


@pytest.mark.spark
def test_what_spark_partitioned_comes_back(tmp_path: Path, spark: SparkSession, read_rows) -> None:
    whos = ["ann", "Smith, Ann", "a/b", "ü: 1%", "x=y", None, ""]
    rows = [(bytearray(f"{number}".encode()), who) for number, who in enumerate(whos)]
    frame = spark.createDataFrame(rows, "image binary, identity string")
    frame.write.partitionBy("identity").parquet(str(tmp_path / "faces"))
    found = {row.data.decode(): row.identity for row in read_rows(source(tmp_path / "faces"))}
    assert found == {f"{number}": who or None for number, who in enumerate(whos)}


def test_a_class_without_a_name_is_its_number(tmp_path: Path, read_rows) -> None:
    path = write(tmp_path / "a.parquet", hugging_face(["Ann"]))
    assert [row.identity for row in read_rows(source(path))] == ["1", "Ann", "1", None]


@pytest.mark.parametrize("told", [b"{", b"[]", b'{"info": null}', b'{"info": {"features": {"identity": 3}}}', b"\xff"])
def test_metadata_that_makes_no_sense_is_passed_over(tmp_path: Path, told: bytes, read_rows) -> None:
    path = write(tmp_path / "a.parquet", plain().replace_schema_metadata({"huggingface": told}))
    assert [row.identity for row in read_rows(source(path))] == WHO


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([3, 1, 2, None], pa.int32()), ["3", "1", "2", None]),
        (pa.array(WHO).dictionary_encode(), WHO),
        (pa.array(WHO, pa.large_string()), WHO),
        (pa.array([b"ann", b"b\xff", None, b""], pa.binary()), ["ann", "b\\xff", None, None]),
        (pa.array([1.0, float("nan"), -1.0, 2.5]), ["1", None, None, "2.5"]),
        (pa.array([1, -1, -5, 0], pa.int8()), ["1", None, None, "0"]),
        (pa.array([Decimal("1.00"), Decimal("-1.00"), None, Decimal("2.50")]), ["1", None, None, "2.50"]),
        (pa.array(["ann ", " ", "-1", "Jose\u0301"]), ["ann", None, None, "José"]),
        (pa.array(["1.0", "", "1", None]).dictionary_encode(), ["1", None, "1", None]),
        (pa.array([[1], [], [1, 2], None], pa.list_(pa.int64())), ["1", None, None, None]),
        (pa.array([["ann"], [""], [None], None]), ["ann", None, None, None]),
        (pa.array([True, False, None, True]), [None] * 4),
        (pa.array([{"id": 1}] * 4), [None] * 4),
        (pa.array([None] * 4), [None] * 4),
    ],
)
def test_an_identity_of_any_type_becomes_text(tmp_path: Path, column: pa.Array, texts: list[str], read_rows) -> None:
    path = write(tmp_path / "a.parquet", plain(who=column))
    assert [row.identity for row in read_rows(source(path, identity_column="who"))] == texts


def test_columns_may_have_other_names(tmp_path: Path, read_rows) -> None:
    table = plain().rename_columns(["jpg", "person"])
    chosen = source(write(tmp_path / "a.parquet", table), image_column="jpg", identity_column="person")
    assert [(row.identity, row.data) for row in read_rows(chosen)] == list(zip(WHO, DATA, strict=True))


def test_without_a_column_of_identities_nobody_is_named(tmp_path: Path, read_rows) -> None:
    path = write(tmp_path / "a.parquet", plain().select(["image"]))
    assert [row.identity for row in read_rows(source(path))] == [None] * 4


@pytest.mark.parametrize("is_struct", [False, True])
def test_a_null_image_is_a_row_that_cannot_be_read(tmp_path: Path, is_struct: bool, read_rows) -> None:
    images = pa.array([b"a", None, b"c", None])
    if is_struct:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([{"bytes": b"a"}, {"bytes": None, "path": "x"}, {"bytes": b"c"}, None], kind)
    path = write(tmp_path / "a.parquet", pa.table({"image": images, "identity": WHO}))
    rows = read_rows(source(path))
    assert [(row.fault, row.data, row.identity) for row in rows] == [
        (None, b"a", "ann"),
        ("unreadable", b"", "bob"),
        (None, b"c", "ann"),
        ("unreadable", b"", None),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_row_group_is_a_portion(tmp_path: Path, size: int, look, read_rows) -> None:
    path = write(tmp_path / "a.parquet", plain(), row_group_size=size)
    portions, _ = look(source(path))
    assert [portion.num_images for portion in portions] == [size] * (4 // size) + [4 % size] * (4 % size > 0)
    rows = [row for portion in portions for row in read_rows(source(path), [portion])]
    assert [(row.source, row.data) for row in rows] == [(f"{path}!/{place}", data) for place, data in enumerate(DATA)]


def test_an_image_above_the_limit_is_digested(tmp_path: Path, read_rows) -> None:
    rows = read_rows(source(write(tmp_path / "a.parquet", plain())), max_bytes=100)
    assert [(row.fault, row.num_bytes, len(row.data)) for row in rows][2] == ("too_many_bytes", 500, 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image_column": "jpg"}, "no column jpg, only image, identity; set source.image_column"),
        ({"image_column": "identity"}, "type string, not bytes; set source.image_column"),
        ({"identity_column": "who"}, "no column who, only image, identity; set source.identity_column"),
    ],
)
def test_a_wrong_column_is_named_with_those_there_are(tmp_path: Path, values: dict[str, str], words: str) -> None:
    path = write(tmp_path / "a.parquet", plain())
    with pytest.raises(UserError, match=words) as caught:
        describe(source(path, **values))
    assert str(caught.value).startswith(f"source.path={path} holds no image: {path}")


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -8])
def test_a_file_that_was_cut_is_one_broken_part_and_spoils_no_other(tmp_path: Path, cut: int, look, read_rows) -> None:
    whole = write(tmp_path / "a.parquet", plain()).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:cut])
    (part,) = look(source(tmp_path))[1]
    assert (part.container, part.num_bytes) == (str(tmp_path / "b.parquet"), len(whole[:cut]))
    assert "\n" not in part.reason
    assert len(read_rows(source(tmp_path))) == 4


def test_a_file_without_a_row_holds_no_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", plain().slice(0, 0))
    with pytest.raises(UserError, match=rf"^source\.path={path} holds no image; name a parquet"):
        describe(source(path))


def large(rows: int) -> pa.Table:
    data = [random.Random(place).randbytes(2000) for place in range(rows)]
    return pa.table({"image": pa.array(data), "identity": [f"person {place}" for place in range(rows)]})


@pytest.mark.parametrize("column", [0, 1])
def test_a_damaged_page_costs_rows_of_its_row_group_and_never_the_count(
    tmp_path: Path, column: int, look, read_rows
) -> None:
    path = write(
        tmp_path / "a.parquet",
        large(400),
        row_group_size=200,
        data_page_size=20_000,
        write_batch_size=10,
        use_dictionary=False,
        compression="SNAPPY",
    )
    whole = read_rows(source(path))
    facts = pq.ParquetFile(path).metadata.row_group(0).column(column)
    middle = facts.data_page_offset + facts.total_compressed_size // 2
    data = bytearray(path.read_bytes())
    for length, rng in ((300, random.Random(0)), (3000, random.Random(1)), (2, random.Random(2))):
        length = min(length, facts.total_compressed_size // 3)
        hit = bytearray(data)
        hit[middle : middle + length] = rng.randbytes(length)
        path.write_bytes(hit)
        assert not look(source(path))[1]
        rows = read_rows(source(path))
        assert rows[200:] == whole[200:]
        assert len(rows) == 400
        if column == 0:  # of small pages; the identities of a row group are one page
            assert rows[:32] == whole[:32]
        assert all(row.fault is None or row.fault == "unreadable" for row in rows)
        assert rows != whole


def test_a_dropped_page_makes_its_rows_unreadable(tmp_path: Path, read_rows) -> None:
    pages = {"data_page_size": 20_000, "write_batch_size": 10, "use_dictionary": False}
    path = write(tmp_path / "a.parquet", large(400), row_group_size=200, **pages)
    facts = pq.ParquetFile(path).metadata.row_group(0).column(0)
    middle = facts.data_page_offset + facts.total_compressed_size // 2
    data = path.read_bytes()
    path.write_bytes(data[:middle] + bytes(100_000) + data[middle + 100_000 :])
    faults = [row.fault for row in read_rows(source(path))]
    assert faults.count("unreadable") > 50
    assert faults[:32] == [None] * 32
    assert faults[200:] == [None] * 200


def test_identities_that_are_no_text_any_more_are_shown_escaped(tmp_path: Path, read_rows) -> None:
    path = write(tmp_path / "a.parquet", plain(), use_dictionary=False, compression="NONE", write_statistics=False)
    path.write_bytes(path.read_bytes().replace(b"bob", b"b\xffb"))
    assert [row.identity for row in read_rows(source(path))] == ["ann", "b\\xffb", "ann", None]


@pytest.mark.parametrize("change", ["gone", "cut", "empty", "fewer groups", "other columns"])
def test_a_file_that_changes_after_the_scan_gives_a_row_for_every_image(
    tmp_path: Path, change: str, look, read_rows
) -> None:
    path = write(tmp_path / "a.parquet", plain(), row_group_size=2)
    portions, _ = look(source(path))
    if change == "gone":
        path.unlink()
    elif change in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: 100 * (change == "cut")])
    else:
        table = plain().slice(0, 2) if change == "fewer groups" else plain().rename_columns(["jpg", "who"])
        write(path, table, row_group_size=2)
    faults = [row.fault for row in read_rows(source(path), portions)]
    kept = 2 if change == "fewer groups" else 0
    assert faults == [None] * kept + ["unreadable"] * (4 - kept)
