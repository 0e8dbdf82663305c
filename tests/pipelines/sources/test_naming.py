"""pipelines/sources/naming: where a name's identity comes from, and what is said of a list that makes no sense."""

import os
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources.naming import naming, read_list
from pipelines.sources.settings import SOURCES, SourceSettings


def by(kind: str = "folder", **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": kind, "path": "x", **values})


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        (b"ann/1.jpg", "ann"),
        (b"a/b/c/1.jpg", "c"),
        (b"1.jpg", None),
        (b"./1.jpg", None),
        (b"/1.jpg", None),
        (b"./ann/1.jpg", "ann"),
        (b"ann//1.jpg", "ann"),
        ("jörg müller/1.jpg".encode(), "jörg müller"),
        (b"n\xff/1.jpg", "n\\xff"),
    ],
)
def test_the_folder_is_the_identity(name: bytes, identity: str | None) -> None:
    assert naming(by())(name) == identity


@pytest.mark.parametrize(
    ("pattern", "name", "identity"),
    [
        (r"^([^/]+)_", b"ann_1.jpg", "ann"),
        (r"^([^/]+)_", b"./ann_1.jpg", "ann"),
        (r"^([^/]+)_", b"x/ann_1.jpg", None),
        (r"(\d+)_(\d+)", b"id/12_34.jpg", "12"),
        (r"(x)?ann", b"ann.jpg", None),
        (r"(ü+)", "füü.jpg".encode(), "üü"),
    ],
)
def test_the_first_group_of_a_pattern_is_the_identity(pattern: str, name: bytes, identity: str | None) -> None:
    assert naming(by(identity_pattern=pattern))(name) == identity


def test_a_list_goes_before_the_folder_and_knows_names_of_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "who.csv"
    path.write_bytes(b"path,identity\nann/1.jpg,7\nn\xff/2.jpg,J\xf6rg\n./x/3.jpg,9\n")
    identity_of = naming(by(identity_list=path))
    assert identity_of(b"ann/1.jpg") == identity_of(b"./ann/1.jpg") == "7"
    assert identity_of(b"n\xff/2.jpg") == "J\\xf6rg"
    assert identity_of(b"x/3.jpg") == "9"
    assert identity_of(b"ann/unlisted.jpg") is None


def test_a_list_goes_before_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "who.txt"
    path.write_text("ann/1.jpg 7\n")
    assert naming(by(identity_list=path, identity_pattern="(.)"))(b"ann/1.jpg") == "7"


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("l.csv", "path\na.jpg\n", [("a.jpg", None)]),
        ("l.csv", 'path,class\n"a,b.jpg","x ""y"""\n', [("a,b.jpg", 'x "y"')]),
        ("l.csv", "name,id\n\na.jpg,\n", [("a.jpg", None)]),
        ("l.csv", "label,path,identity\n1,a.jpg,ann\n", [("a.jpg", "ann")]),
        ("l.csv", "path,identity\na.jpg\n", [("a.jpg", None)]),
        ("l.tsv", "path\tlabel\na b.jpg\tann, of course\n", [("a b.jpg", "ann, of course")]),
        ("l.jsonl", '{"path": "a.jpg", "label": 3}\n', [("a.jpg", "3")]),
        ("l.jsonl", '\ufeff{"path": "a.jpg"}\n  \n', [("a.jpg", None)]),
        ("l.ndjson", '{"image": "ö.jpg", "identity": null}', [("ö.jpg", None)]),
        ("l.jsonl", '{"path": "a.jpg", "label": "\\ud800"}', [("a.jpg", "\\ud800")]),
        ("l.txt", "a.jpg\n\nb c.jpg\r\n", [("a.jpg", None), ("b c.jpg", None)]),
        ("l.txt", "a.jpg ann\nb c.jpg 12\n", [("a.jpg", "ann"), ("b c.jpg", "12")]),
        ("l.txt", "ann lee/1.jpg\n", [("ann lee/1.jpg", None)]),
        ("l.txt", "a b.jpg\tDr. Ann Lee\n", [("a b.jpg", "Dr. Ann Lee")]),
        ("l", "a.jpg 1", [("a.jpg", "1")]),
    ],
)
def test_lists_of_all_forms_are_read(tmp_path: Path, name: str, content: str, rows: list[object]) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert list(read_list(tmp_path / name)) == rows


def test_a_name_that_is_not_utf8_opens_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"n\xff.jpg ann\n")
    ((name, identity),) = read_list(tmp_path / "l.txt")
    assert (os.fsencode(name), identity) == (b"n\xff.jpg", "ann")


def test_the_column_of_the_identity_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,identity,who\na.jpg,1,ann\n")
    assert list(read_list(tmp_path / "l.csv", identity_column="who")) == [("a.jpg", "ann")]
    (tmp_path / "l.jsonl").write_text('{"path": "a.jpg", "identity": 1, "who": "ann"}\n{"path": "b.jpg"}\n')
    assert list(read_list(tmp_path / "l.jsonl", identity_column="who")) == [("a.jpg", "ann"), ("b.jpg", None)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.csv", "", "has the columns none; call that of the picture's name `path`"),
        ("l.csv", "a.jpg,ann\n", "has the columns a.jpg, ann; call that of the picture's name `path`"),
        ("l.csv", "path,identity\na.jpg,1\n,2\n", "line 3: the column path is empty; give the picture's name"),
        ("l.csv", "path\n" + "x" * 200_000, r"is no table \(field larger"),
        ("l.jsonl", '{"path": "a.jpg"}\nnot json\n', "line 2: no JSON object with a picture's name; mend the line"),
        ("l.jsonl", '{"path": null}\n', "line 1: no JSON object"),
        ("l.jsonl", '{"path": ""}\n', "line 1: no JSON object"),
        ("l.jsonl", '{"path": 5}\n', "line 1: no JSON object"),
        ("l.jsonl", '{"path": "\\ud800"}\n', "line 1: no JSON object"),
        ("l.jsonl", "5\n", "line 1: no JSON object"),
        ("l.jsonl", '["path"]\n', "line 1: no JSON object"),
        ("l.jsonl", "[" * 100_000, "line 1: no JSON object"),
        ("l.jsonl", '{"file": "a.jpg"}\n{"person": "ann"}\n', "line 2, has the columns person; call that"),
    ],
)
def test_a_list_that_makes_no_sense_is_one_clear_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        list(read_list(tmp_path / name))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,identity\n")
    with pytest.raises(UserError, match=r"l\.csv has no column who, only path, identity; set source\.identity_column$"):
        list(read_list(tmp_path / "l.csv", identity_column="who"))


@pytest.mark.parametrize("name", ["none.csv", "."])
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(.*\); name a list of pictures"):
        list(read_list(tmp_path / name))
