"""pipelines/identity_hints: the notes that a source's identities deserve, and none for sound ones."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.identity_hints import identity_notes
from pipelines.sources.naming import naming
from pipelines.sources.settings import SOURCES, SourceSettings

pytestmark = pytest.mark.spark

Notes = Callable[..., list[str]]


def chosen(kind: str = "folder", path: str = "/faces", **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": kind, "path": path, **values})


@pytest.fixture
def notes(spark: SparkSession) -> Notes:
    """The notes on rows of source, identity and outcome of decoding."""

    def of(rows: Sequence[tuple[str, str | None] | tuple[str, str | None, str]], settings: SourceSettings) -> list[str]:
        whole = [(*row, "ok")[:3] for row in rows]
        records = spark.createDataFrame(whole, "source string, identity string, decode string")
        return identity_notes(records, settings)

    return of


def in_folders(*names: str, root: str = "/faces") -> list[tuple[str, str | None]]:
    """Rows of pictures whose identity is the name of their folder."""
    return [(f"{root}/{name}", name.split("/")[-2] if "/" in name else None) for name in names]


@pytest.mark.parametrize("kind", ["folder", "tar", "list", "webdataset", "recordio", "parquet", "pack"])
def test_images_without_identity_are_noted_with_the_remedy_of_their_kind(kind: str, notes: Notes) -> None:
    rows = [("/faces/1.jpg", None), ("/faces/2.jpg", None), ("/faces/3.jpg", "ann"), ("/faces/4.jpg", None, "corrupt")]
    path = "/nowhere" if kind == "list" else "/faces"
    (note,) = notes(rows, chosen(kind, path))
    assert note.startswith("only 1 of 3 images has an identity: ")
    remedies = {name for name in ("identity_column", "identity_pattern", "identity_list") if f"source.{name}" in note}
    assert remedies == {name for name in type(chosen(kind)).model_fields if name.startswith("identity_")}
    assert notes([("/faces/1.jpg", None)], chosen(kind, path))[0].startswith("none of 1 images has an identity: ")


def test_the_columns_of_a_parquet_file_are_named_with_the_remedy(notes: Notes, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b""], "celebrity": ["ann"]}), tmp_path / "a.parquet")
    (note,) = notes([(f"{tmp_path}/a.parquet!/0", None)], chosen("parquet", str(tmp_path)))
    assert note.endswith("name the column that holds it by source.identity_column (it has image, celebrity)")


@pytest.mark.parametrize(
    "rows",
    [
        in_folders("ann/1.jpg", "ann/2.jpg", "bob/1.jpg", "3.jpg"),
        [("/faces/1.jpg", None, "corrupt"), ("/faces/2.jpg", None, "corrupt"), ("/faces/ann/3.jpg", "ann")],
        in_folders("train/ann/1.jpg", "val/ann/2.jpg", "train/bob/3.jpg", "test/bob/4.jpg"),
        in_folders("x/train/ann/1.jpg", "x/Validation/ann/2.jpg"),
        [("/faces/date=2019/identity=ann/1.jpg", "ann"), ("/faces/date=2020/identity=ann/1.jpg", "ann")],
        in_folders(*(f"batch{n // 10}/p{n % 10 if n < 4 else n}/{n}.jpg" for n in range(40))),
    ],
)
def test_sound_identities_deserve_no_note(rows: list[tuple[str, str | None]], notes: Notes) -> None:
    assert notes(rows, chosen()) == []


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_one_name_under_many_folders_is_noted_with_a_pattern_that_works(kind: str, notes: Notes) -> None:
    root = "/faces" if kind == "folder" else "/faces.tar!"
    (note,) = notes(in_folders("alice/2019/1.jpg", "bob/2019/1.jpg", root=root), chosen(kind, root.rstrip("!")))
    assert note.startswith("the identity 2019 stands in 2 folders, alice and bob among them, as do 1 of 1 identities")
    pattern = note.partition("source.identity_pattern='")[2].rstrip("'")
    assert naming(chosen(kind, identity_pattern=pattern))(b"alice/2019/1.jpg") == "alice"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "worst"),
    [
        (["alice/2019/1.jpg", "alice/2020/2.jpg", "bob/2019/1.jpg"], "2019 stands in 2 folders"),
        ([f"n{n:02d}/images/{n}.jpg" for n in range(12)], "images stands in 12 folders, n00 and n11"),
        ([f"train/n{n:02d}/images/{n}.jpg" for n in range(12)], "images stands in 12 folders"),
        (["a\\2019\\1.jpg", "b\\2019\\1.jpg"], "2019 stands in 2 folders, a and b"),
        ([*(f"d{n}/misc/1.jpg" for n in range(10)), *(f"p{n}/1.jpg" for n in range(90))], "misc stands in 10 folders"),
    ],
)
def test_trees_in_which_a_folder_is_no_person_are_noted(names: list[str], worst: str, notes: Notes) -> None:
    rows = [(f"/faces/{name}", name.replace("\\", "/").split("/")[-2]) for name in names]
    (note,) = notes(rows, chosen())
    assert worst in note


def test_with_a_pattern_folders_say_nothing(notes: Notes) -> None:
    rows = in_folders("alice/2019/1.jpg", "bob/2019/1.jpg")
    assert notes(rows, chosen(identity_pattern="([^/]+)/[^/]+$")) == []


def test_words_for_a_missing_label_are_noted(notes: Notes) -> None:
    rows = in_folders("Nan/1.jpg", "Nan/2.jpg", "unknown/1.jpg", "ann/1.jpg")
    (note,) = notes(rows, chosen())
    assert note.startswith("3 images have an identity such as Nan, taken for a name")


def test_a_list_that_names_none_of_the_images_is_noted_with_both_spellings(notes: Notes, tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("path,identity\nC:\\pictures\\alice\\1.jpg,alice\n")
    rows = [("/x.tar!/alice/1.jpg", None), ("/x.tar!/alice/2.jpg", None)]
    first, second = notes(rows, chosen("tar", "/x.tar", identity_list=tmp_path / "who.csv"))
    assert first.startswith("none of 2 images has an identity")
    assert second == (
        f"source.identity_list={tmp_path}/who.csv has names such as C:\\pictures\\alice\\1.jpg, "
        "the source such as alice/1.jpg; they must be the same"
    )


def test_faults_of_an_identity_list_are_noted(notes: Notes, tmp_path: Path) -> None:
    lines = ["path,identity", "a.jpg,ann", "a.jpg,Bj\u00f6rn", "b.jpg,Smith, Ann", "c.jpg,cid"]
    (tmp_path / "who.csv").write_bytes("\n".join(lines).encode("cp1252"))
    found = notes([("/faces/c.jpg", "cid")], chosen(identity_list=tmp_path / "who.csv"))
    where = f"source.identity_list={tmp_path}/who.csv"
    assert found == [
        f"{where} names 1 images twice under two identities, the first a.jpg as ann and Björn: they have no identity",
        f"{where}: 1 line passed over: 1 lines with more fields than their heading (the first {tmp_path}/who.csv, "
        "line 4; put a field that holds the delimiter in double quotes)",
        f"{where} is not UTF-8 and was read as Windows-1252; save it as UTF-8 if names look wrong",
    ]


def test_a_picture_that_a_list_names_twice_is_noted_with_both_names(notes: Notes, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,identity\n")
    rows = [("/faces/1.jpg", "bob"), ("/faces/1.jpg", "ann"), ("/faces/2.jpg", "ann"), ("/faces/2.jpg", "ann")]
    assert notes(rows, chosen("list", str(tmp_path / "l.csv"))) == [
        "1 images are listed twice under two identities, the first /faces/1.jpg as ann and bob: "
        "curate.conflicts decides on them"
    ]
