"""pipelines/sources/lists: lists of all forms are read, and a line that does not parse is named by its number."""

import contextlib
import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.settings import UserError
from pipelines.sources.entry import PassedOver
from pipelines.sources.identities import identity_of
from pipelines.sources.lists.read import Entry, read_list

reused = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def parts(path: Path, column: str | None = None) -> tuple[list[tuple[str, str | None]], dict[str, str]]:
    """The rows of a list, and its lines that are passed over with their reasons."""
    rows: list[tuple[str, str | None]] = []
    passed = {}
    for part in read_list(path, identity_column=column):
        if isinstance(part, PassedOver):
            passed[part.where.removeprefix(f"{path}, ")] = part.reason
        else:
            rows.append(tuple(part))
    return rows, passed


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("l.csv", "path\na.jpg\n", [("a.jpg", None)]),
        ("l.csv", 'path,class\n"a,b.jpg","x ""y"""\n', [("a,b.jpg", 'x "y"')]),
        ("l.csv", "name,id\n\na.jpg,\n", [("a.jpg", None)]),
        ("l.csv", "label,path,identity\n1,a.jpg,ann\n", [("a.jpg", "ann")]),
        ("l.csv", "path,identity\na.jpg\n", [("a.jpg", None)]),
        ("l.csv", "path, identity\na.jpg, ann \n", [("a.jpg", "ann")]),
        ("l.csv", 'path,identity\na.jpg, "Smith, Ann" \n', [("a.jpg", "Smith, Ann")]),
        ("l.csv", "Path,IDENTITY\na.jpg,ann\n", [("a.jpg", "ann")]),
        ("l.csv", "path;identity\na.jpg;Smith, Ann\n", [("a.jpg", "Smith, Ann")]),
        ("l.csv", "sep=;\npath;identity\na.jpg;ann\n", [("a.jpg", "ann")]),
        ("l.csv", "path\tidentity\na.jpg\tann\n", [("a.jpg", "ann")]),
        ("l.csv", "#path,identity\na.jpg,ann\n", [("a.jpg", "ann")]),
        ("l.csv", "path,identity\r\na.jpg,ann\r\n", [("a.jpg", "ann")]),
        ("l.csv", "path,identity\ra.jpg,ann\r", [("a.jpg", "ann")]),
        ("l.csv", "path,identity\na.jpg,ann,,\n", [("a.jpg", "ann")]),
        ("l.csv", 'path,identity,text\na.jpg,ann,"two\nlines"\nb.jpg,bob,\n', [("a.jpg", "ann"), ("b.jpg", "bob")]),
        ("l.csv", 'path,identity\na.jpg,5" ann\n', [("a.jpg", '5" ann')]),
        (
            "l.csv",
            "path,label\na.jpg,1.0\nb.jpg,1\nc.jpg,-1\nd.jpg,nan\n",
            [("a.jpg", "1"), ("b.jpg", "1"), ("c.jpg", None), ("d.jpg", "nan")],
        ),
        ("l.csv", "path,identity\n#selfie/1.jpg,ann\n", [("#selfie/1.jpg", "ann")]),
        ("l.tsv", "path\tlabel\na b.jpg\tann, of course\n", [("a b.jpg", "ann, of course")]),
        ("l.jsonl", '{"path": "a.jpg", "label": 3}\n', [("a.jpg", "3")]),
        ("l.jsonl", '{"path": "a.jpg", "label": 3.0}\n', [("a.jpg", "3")]),
        ("l.jsonl", '{"path": "a.jpg", "label": -1}\n', [("a.jpg", None)]),
        ("l.jsonl", '{"path": "a.jpg", "label": NaN}\n', [("a.jpg", None)]),
        ("l.jsonl", '{"path": "a.jpg", "label": true}\n', [("a.jpg", None)]),
        ("l.jsonl", '{"path": "a.jpg", "label": ["ann"]}\n', [("a.jpg", "ann")]),
        ("l.jsonl", '{"path": "a.jpg", "label": {"name": "ann"}}\n', [("a.jpg", None)]),
        ("l.jsonl", '{"File_Name": "a.jpg", "Label": "ann"}\n', [("a.jpg", "ann")]),
        ("l.jsonl", '\ufeff{"path": "a.jpg"}\n  \n', [("a.jpg", None)]),
        ("l.ndjson", '{"image": "ö.jpg", "identity": null}', [("ö.jpg", None)]),
        ("l.json", '{"image": "ö.jpg", "identity": "ann"}', [("ö.jpg", "ann")]),
        ("l.jsonl", '{"path": "a.jpg", "label": "\\ud800"}', [("a.jpg", "\\ud800")]),
        ("l.txt", "a.jpg\n\nb c.jpg\r\n", [("a.jpg", None), ("b c.jpg", None)]),
        ("l.txt", "a.jpg ann\nb c.jpg 12\n", [("a.jpg", "ann"), ("b c.jpg", "12")]),
        (
            "l.txt",
            "a.jpg Ann Lee  \nb.jpg, Bob\nc.jpg,Cid\n",
            [("a.jpg", "Ann Lee"), ("b.jpg", "Bob"), ("c.jpg", "Cid")],
        ),
        ("l.txt", "ann lee/1.jpg\n", [("ann lee/1.jpg", None)]),
        ("l.txt", "a b.jpg\tDr. Ann Lee\n", [("a b.jpg", "Dr. Ann Lee")]),
        ("l.txt", "a b.jpg Dr. Ann Lee\n", [("a b.jpg", "Dr. Ann Lee")]),
        ("l.txt", "photo 1.jpg copy.jpg\n", [("photo 1.jpg copy.jpg", None)]),
        ("l.txt", "path,identity\na.jpg,ann\n", [("a.jpg", "ann")]),
        ("l.txt", "image\tlabel\na b.jpg\tann lee\n", [("a b.jpg", "ann lee")]),
        ("l.txt", "a.jpg\tann\t\n", [("a.jpg", "ann")]),
        (
            "l.txt",
            '"a b.jpg" "Ann Lee"\n"c.jpg"\n"d.jpg", Dan\n',
            [("a b.jpg", "Ann Lee"), ("c.jpg", None), ("d.jpg", "Dan")],
        ),
        ("l.txt", '"a b.jpg"\t"Ann Lee"\n', [("a b.jpg", "Ann Lee")]),
        ("l.csv", '"path","identity"\n"a.jpg","ann"\n\ufeff"b.jpg","bob"\n', [("a.jpg", "ann"), ("b.jpg", "bob")]),
        ("l.txt", "Ann Lee\tann/1.jpg\nBob\tbob/1.PNG\n", [("ann/1.jpg", "Ann Lee"), ("bob/1.PNG", "Bob")]),
        ("l.txt", "a.jpg|Ann\nb.jpg;Bob\n", [("a.jpg", "Ann"), ("b.jpg", "Bob")]),
        ("l.txt", "label\tpath\n3\ta.jpg\n", [("a.jpg", "3")]),
        ("l.lst", "0,3.0,ann/1.jpg\n", [("ann/1.jpg", "3")]),
        ("l.csv", "image_id,identity\n000001.jpg,2880\n", [("000001.jpg", "2880")]),
        ("l", "a.jpg 1", [("a.jpg", "1")]),
        ("l.lst", "0\t3.000000\tann/1.jpg\n7\t4.5\tx y.jpg\n", [("ann/1.jpg", "3"), ("x y.jpg", "4.5")]),
        ("l.lst", "0\t3\t0.5\t0.25\tann/1.jpg\n1\tnan\t0\t0\tb.jpg\n", [("ann/1.jpg", "3"), ("b.jpg", None)]),
        ("l.txt", "0\t-1.000000\ta.jpg\n1\t2.000000\tb.jpg\n", [("a.jpg", None), ("b.jpg", "2")]),
        ("l.lst", "0 3.0 ann/1.jpg\n", [("ann/1.jpg", "3")]),
        ("l.lst", "1\tann/1.jpg\t3\n1\tb.jpg\t4\t10\t20\n", [("ann/1.jpg", "3"), ("b.jpg", "4")]),
        ("l.lst", "a.jpg\tann\n", [("a.jpg", "ann")]),
    ],
)
def test_lists_of_all_forms_are_read(tmp_path: Path, name: str, content: str, rows: list[object]) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert parts(tmp_path / name) == (rows, {})


MORE, FEWER = "lines_with_more_fields_than_their_heading", "lines_with_fewer_fields_than_their_heading"
QUOTES, NO_NAME, NO_OBJECT = "lines_whose_quotes_do_not_match", "lines_without_a_name", "lines_that_are_no_JSON_object"
OTHER = "lines_of_another_form_than_the_first"


@pytest.mark.parametrize(
    ("name", "lines", "passed"),
    [
        ("l.csv", ["path,identity", "a.jpg,Smith, Ann", "z.jpg,zoe"], {2: MORE}),
        ("l.csv", ["path,identity", "z.jpg,zoe", '"a.jpg,Smith', "y.jpg,zoe"], {3: QUOTES}),
        ("l.csv", ["path,identity", 'a.jpg,"Smith', 'b.jpg,Bob"', "z.jpg,zoe"], {2: QUOTES}),
        ("l.csv", ["path,identity", 'a.jpg,"Smith', *["z.jpg,zoe"] * 50], {2: QUOTES}),
        ("l.csv", ["path,identity", 'a.jpg,"Ann" Smith', "z.jpg,zoe"], {2: QUOTES}),
        ("l.csv", ["number,path,identity", "a.jpg,ann", "1,z.jpg,zoe"], {2: FEWER}),
        ("l.csv", ["path,identity,age", "a.jpg,ann", "z.jpg,zoe,3"], {2: FEWER}),
        ("l.csv", ["path,identity", ",ann", "z.jpg,zoe"], {2: NO_NAME}),
        ("l.csv", ["path,identity", "a\0.jpg,ann", "z.jpg,zoe"], {2: "lines_with_a_zero_byte"}),
        (
            "l.csv",
            ["# made by hand", "path,identity", "# people", "z.jpg,zoe"],
            {1: "comment_lines", 3: "comment_lines"},
        ),
        ("l.csv", ["path,identity", "x" * 200_000, "z.jpg,zoe"], {2: "lines_whose_name_is_too_long"}),
        ("l.csv", ["path,identity", "z.jpg,zoe", "path,identity", "y.jpg,yan"], {3: "headings_that_are_repeated"}),
        ("l.tsv", ["path\tidentity", "a.jpg\tann\tlee", "z.jpg\tzoe"], {2: MORE}),
        ("l.jsonl", ["not json", '{"path": "z.jpg", "label": "zoe"}'], {1: NO_OBJECT}),
        ("l.jsonl", ['{"path": "a.jpg"', '{"path": "z.jpg", "label": "zoe"}'], {1: NO_OBJECT}),
        (
            "l.jsonl",
            ["5", "[1]", "[" * 10_000, '{"path": "z.jpg", "label": "zoe"}'],
            dict.fromkeys((1, 2, 3), NO_OBJECT),
        ),
        (
            "l.jsonl",
            ['{"path": null}', '{"who": "x"}', '{"path": "z.jpg", "label": "zoe"}'],
            dict.fromkeys((1, 2), NO_NAME),
        ),
        (
            "l.jsonl",
            ['{"path": "a.jpg", "label": "ann", "label": "bob"}', '{"path": "z.jpg", "label": "zoe"}'],
            {1: "lines_with_a_key_twice"},
        ),
        ("l.jsonl", [r'{"path": "a\u0000.jpg"}', '{"path": "z.jpg", "label": "zoe"}'], {1: "lines_with_a_zero_byte"}),
        (
            "l.jsonl",
            [r'{"path": "\ud800"}', '{"path": "z.jpg", "label": "zoe"}'],
            {1: "lines_whose_name_is_no_text"},
        ),
        ("l.txt", ["a.jpg\tann\tlee", "z.jpg\tzoe"], {1: MORE}),
        ("l.txt", ["0\ta.jpg", "z.jpg\t0"], {1: "lines_that_begin_with_a_number"}),
        ("l.txt", ["# people", "z.jpg\tzoe"], {1: "comment_lines"}),
        ("l.lst", ["0\t3\tz.jpg", "a.jpg\tann", "1\tx\tb.jpg"], {2: OTHER, 3: OTHER}),
    ],
)
def test_a_line_that_does_not_parse_is_passed_over_by_its_number(
    tmp_path: Path, name: str, lines: list[str], passed: dict[int, str]
) -> None:
    (tmp_path / name).write_text("\n".join(lines))
    rows, found = parts(tmp_path / name)
    assert found == {f"line {number}": reason for number, reason in passed.items()}
    assert {row[0] for row in rows} <= {"y.jpg", "z.jpg", "b.jpg"}
    assert len(rows) == len(lines) - len(passed) - (name[2:] in ("csv", "tsv"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_encoding_of_a_list_is_recognised(tmp_path: Path, encoding: str, end: str) -> None:
    content = end.join(["path,identity", "faces/josé/1.jpg,José", "faces/jörg/1.jpg,Jörg", ""])
    (tmp_path / "l.csv").write_bytes(content.encode(encoding))
    rows, passed = parts(tmp_path / "l.csv")
    assert ([identity for _, identity in rows], passed) == (["José", "Jörg"], {})
    if encoding != "cp1252":  # whose names are kept byte for byte
        assert [name for name, _ in rows] == ["faces/josé/1.jpg", "faces/jörg/1.jpg"]


def test_a_name_that_is_not_utf8_opens_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"n\xff.jpg ann\n")
    ((name, identity),), _ = parts(tmp_path / "l.txt")
    assert (os.fsencode(name), identity) == (b"n\xff.jpg", "ann")


def test_composed_and_decomposed_names_are_one_person(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,identity\na.jpg,Jos\u00e9\nb.jpg,Jose\u0301\n")
    assert parts(tmp_path / "l.csv")[0] == [("a.jpg", "José"), ("b.jpg", "José")]


def test_the_column_of_the_identity_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,identity,Who\na.jpg,1,ann\n")
    assert parts(tmp_path / "l.csv", "who")[0] == [("a.jpg", "ann")]
    (tmp_path / "l.jsonl").write_text('{"path": "a.jpg", "identity": 1, "who": "ann"}\n{"path": "b.jpg"}\n')
    assert parts(tmp_path / "l.jsonl", "who")[0] == [("a.jpg", "ann"), ("b.jpg", None)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.csv", b"", "has the columns none; call that of the picture's name `path`"),
        ("l.csv", b"a.jpg,ann\n", "has the columns a.jpg, ann; call that of the picture's name `path`"),
        ("l.csv", b"path,identity,identity\na.jpg,1,2\n", "has the column identity twice; remove one"),
        (
            "l.csv",
            b"path,identity\na.jpg,Smith, Ann\n",
            r"not one line names a picture \(line 2 and on: lines with more",
        ),
        ("l.jsonl", b'{"path": "a.jpg"\n', r"not one line names a picture \(line 1 and on: lines that are no JSON"),
        (
            "l.jsonl",
            b'[{"path": "a.jpg"},\n{"path": "b.jpg"}]\n',
            "is a JSON array; write its objects without brackets",
        ),
        ("l.txt", bytes(range(256)) * 20, "is no text"),
        ("l.csv", b"\x1f\x8b\x08" + bytes(200), "is no text"),
    ],
)
def test_a_list_that_makes_no_sense_is_one_clear_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
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


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(str.strip)


@reused
@given(
    rows=st.lists(st.tuples(words, words), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_that_csv_wrote_comes_back(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str, encoding: str, end: str
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerows([("path", "identity"), *((f"_{name}", identity) for name, identity in rows)])
    (tmp_path / "l.csv").write_bytes(stream.getvalue().encode(encoding))
    assert parts(tmp_path / "l.csv") == ([(f"_{name}".strip(), identity_of(who)) for name, who in rows], {})


@reused
@given(content=st.binary(max_size=300), suffix=st.sampled_from(["csv", "tsv", "jsonl", "txt", "lst"]))
def test_any_bytes_are_a_list_or_one_clear_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"l.{suffix}"
    path.write_bytes((b"path,identity\n" if suffix == "csv" else b"") + content)
    found: list[Entry | PassedOver] = []
    with contextlib.suppress(UserError):
        found.extend(read_list(path))
    for part in found:
        assert isinstance(part, PassedOver) or (part.name and "\0" not in part.name)
    assert json.dumps([part for part in found if isinstance(part, Entry)])


@reused
@given(
    bad=st.sets(st.integers(0, 29), max_size=8),
    broken=st.sampled_from(['{0}.jpg,"p{0}', "{0}.jpg,Smith, Ann", ',"p{0}"', '"{0}.jpg,p{0}']),
)
def test_bad_lines_cost_themselves_and_no_other(tmp_path: Path, bad: set[int], broken: str) -> None:
    lines = [broken.format(number) if number in bad else f"{number}.jpg,p{number}" for number in range(30)]
    (tmp_path / "l.csv").write_text("path,identity\n" + "\n".join(lines))
    rows, passed = parts(tmp_path / "l.csv")
    assert rows == [(f"{number}.jpg", f"p{number}") for number in range(30) if number not in bad]
    assert passed.keys() == {f"line {number + 2}" for number in bad}
