"""pipelines/sources/image_list: pictures named one by one, here and behind URIs that fsspec really opens."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources.entry import PassedOver
from pipelines.sources.reading import containers, describe, scan
from pipelines.sources.settings import SOURCES, SourceSettings

FILES = {"ann/1.jpg": b"a" * 100, "bob smith/2 b.jpg": b"b" * 50, "jörg/顔.png": b"c" * 7, "empty.jpg": b""}
WHO = ["ann", "Bob Smith", "jörg", None]


def source(path: Path | str, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "list", "path": str(path), **values})


@pytest.fixture
def root(tmp_path: Path, write_images) -> Path:
    root: Path = write_images(tmp_path / "faces", FILES)
    return root


def table(style: str) -> tuple[str, str]:
    """Name and content of a list of the pictures, in one of the forms that are understood."""
    pairs = list(zip(FILES, WHO, strict=True))
    if style == "csv":
        return "l.csv", "number,path,identity\n" + "".join(f'1,"{name}",{who or ""}\n' for name, who in pairs)
    if style == "csv of Excel":
        return "l.CSV", "\ufefffilename,label\r\n" + "".join(f"{name},{who or ''}\r\n" for name, who in pairs)
    if style == "tsv":
        return "l.tsv", "label\timage\n" + "".join(f"{who or ''}\t{name}\n" for name, who in pairs)
    if style == "jsonl":
        return "l.jsonl", "".join(json.dumps({"file_name": name, "identity": who}) + "\n\n" for name, who in pairs)
    return "l.txt", "\n".join(f"{name}\t{who or ''}" for name, who in pairs)


@pytest.mark.parametrize("style", ["csv", "csv of Excel", "tsv", "jsonl", "lines"])
def test_a_list_of_any_form_names_pictures_beside_it(root: Path, style: str, read_rows) -> None:
    name, content = table(style)
    (root / name).write_text(content, encoding="utf-8", newline="")
    rows = read_rows(source(root / name))
    assert [(row.source, row.identity, row.data) for row in rows] == [
        (f"{root}/{file}", who, data) for (file, data), who in zip(FILES.items(), WHO, strict=True)
    ]


def test_celebas_list_is_understood(tmp_path: Path, write_images, read_rows) -> None:
    root = write_images(tmp_path, {"000001.jpg": b"1", "000002.jpg": b"2", "my photo.jpg": b"3"})
    (root / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\nmy photo.jpg\n")
    rows = read_rows(source(root / "identity_CelebA.txt"))
    assert [(row.identity, row.data) for row in rows] == [("2880", b"1"), ("2937", b"2"), (None, b"3")]


def test_a_relative_list_and_an_absolute_path_are_found(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_rows
) -> None:
    names = ("faces/ann/1.jpg,a", f"{root}/empty.jpg,b", "faces/../faces/ann/1.jpg,c")
    (tmp_path / "list.csv").write_text("\n".join(["path,identity", *names]))
    monkeypatch.chdir(tmp_path)
    rows = read_rows(source("list.csv"))
    assert [(row.identity, row.data) for row in rows] == [("a", b"a" * 100), ("b", b""), ("c", b"a" * 100)]


def test_a_file_that_is_missing_is_a_row_that_cannot_be_read(root: Path, read_rows) -> None:
    (root / "l.csv").write_text("path,identity\nann/1.jpg,a\nann/none.jpg,b\nann,c\nempty.jpg,d\n")
    rows = read_rows(source(root / "l.csv"))
    assert [(row.source.removeprefix(f"{root}/"), row.identity, row.fault) for row in rows] == [
        ("ann/1.jpg", "a", None),
        ("ann/none.jpg", "b", "unreadable"),
        ("ann", "c", "unreadable"),
        ("empty.jpg", "d", None),
    ]


def test_uris_are_opened_where_they_lead(root: Path, tmp_path: Path, read_rows, look) -> None:
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("in/a b.jpg", b"zipped" * 10)
        archive.writestr("bad.jpg", b"checksum" * 10)
    content = (tmp_path / "faces.zip").read_bytes()
    (tmp_path / "faces.zip").write_bytes(content.replace(b"checksum", b"chicksum", 1))
    (tmp_path / "no.zip").write_bytes(b"no zip at all")
    uris = [
        f"zip://in/a b.jpg::{tmp_path}/faces.zip",
        f"file://{root}/jörg/顔.png",
        f"zip://none.jpg::{tmp_path}/faces.zip",
        f"zip://bad.jpg::{tmp_path}/faces.zip",
        f"zip://a.jpg::{tmp_path}/no.zip",
        f"zip://a.jpg::{tmp_path}/nowhere.zip",
        f"file://{root}/none.jpg",
    ]
    (root / "l.jsonl").write_text("".join(json.dumps({"path": uri, "identity": "x"}) + "\n" for uri in uris))
    rows = read_rows(source(root / "l.jsonl"))
    assert [row.source for row in rows] == uris
    assert [(row.fault, row.data) for row in rows] == [
        (None, b"zipped" * 10),
        (None, FILES["jörg/顔.png"]),
        *[("unreadable", b"")] * 5,
    ]


@pytest.mark.parametrize("uri", ["nosuch://host/1.jpg", "nosuch::file:///1.jpg"])
def test_a_scheme_that_nobody_knows_is_told_before_the_pass_and_a_row_in_it(
    root: Path, uri: str, read_rows, look
) -> None:
    (root / "l.txt").write_text(f"{uri}\n")
    with pytest.raises(UserError, match=f"^{uri} cannot be opened .*; install the package that fsspec names$"):
        describe(source(root / "l.txt"))
    (root / "late.txt").write_text("ann/1.jpg\n" * 64 + f"{uri}\nempty.jpg\n")
    rows = read_rows(source(root / "late.txt"))
    assert [row.fault for row in rows] == [None] * 64 + ["unreadable", None]


def test_names_that_are_not_utf8_open_their_files_and_identities_are_read_as_windows_1252(
    tmp_path: Path, read_rows
) -> None:
    (tmp_path / os.fsdecode(b"n\xff.jpg")).write_bytes(b"data")
    (tmp_path / "l.csv").write_bytes(b"path,identity\nn\xff.jpg,J\xf6rg\n")
    (row,) = read_rows(source(tmp_path / "l.csv"))
    assert (row.source, row.identity, row.data) == (f"{tmp_path}/n\\xff.jpg", "Jörg", b"data")


def test_an_identity_may_lie_in_the_name_as_the_list_has_it(root: Path, tmp_path: Path, read_rows) -> None:
    (root / "l.txt").write_text("ann/1.jpg\n./bob smith/2 b.jpg\n")
    by_pattern = source(root / "l.txt", identity_pattern="^([^/]+)/")
    assert [row.identity for row in read_rows(by_pattern)] == ["ann", "bob smith"]
    (tmp_path / "who.csv").write_text("path,identity\nann/1.jpg,7\nbob smith/2 b.jpg,8\n")
    assert [row.identity for row in read_rows(source(root / "l.txt", identity_list=tmp_path / "who.csv"))] == ["7", "8"]


@pytest.mark.parametrize("images", [1, 2, 3, 100])
def test_portions_neither_lose_nor_repeat_nor_reorder(root: Path, images: int, look, read_rows) -> None:
    (root / "l.txt").write_text("".join(f"{name}\n" for name in FILES))
    whole = read_rows(source(root / "l.txt"))
    cut = source(root / "l.txt", chunk_images=images)
    assert all(portion.num_images <= images for portion in look(cut)[0])
    assert read_rows(cut) == whole


def test_the_listing_counts_every_line_and_tells_the_bytes_from_some(root: Path) -> None:
    (root / "l.txt").write_text("ann/1.jpg\n" * 1500)
    listing = describe(source(root / "l.txt"))
    assert (listing.num_files, listing.num_bytes, listing.is_exact) == (1500, 150_000, True)


def test_an_image_above_the_limit_is_digested(root: Path, read_rows) -> None:
    (root / "l.txt").write_text("ann/1.jpg\n")
    (row,) = read_rows(source(root / "l.txt"), max_bytes=99)
    assert (row.fault, row.data, row.num_bytes) == ("too_many_bytes", b"", 100)


@pytest.mark.parametrize("name", ["none.csv", "faces"])
def test_a_list_that_is_not_there_is_one_clear_line(root: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"^source\.path={tmp_path / name} is no file; name a list of pictures"):
        describe(source(tmp_path / name))


def test_an_empty_list_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("\n\n")
    with pytest.raises(UserError, match="holds no image"):
        describe(source(tmp_path / "l.txt"))


@pytest.mark.parametrize(
    ("on_disk", "in_list", "encoding"),
    [
        ("alice/1.jpg", "alice\\1.jpg", "utf-8"),
        ("alice/1.jpg", ".\\alice\\1.jpg", "utf-16"),
        ("alice\\1.jpg", "alice\\1.jpg", "utf-8"),
        ("jos\u00e9/1.jpg", "jose\u0301/1.jpg", "utf-8"),
        ("jose\u0301/1.jpg", "jos\u00e9/1.jpg", "utf-8"),
        ("jos\u00e9/1.jpg", "jos\u00e9/1.jpg", "cp1252"),
        ("jos\u00e9/1.jpg", "jos\u00e9\\1.jpg", "latin-1"),
    ],
)
def test_a_file_is_found_by_other_spellings_of_its_name(
    tmp_path: Path, on_disk: str, in_list: str, encoding: str, write_images, read_rows
) -> None:
    root = write_images(tmp_path / "faces", {on_disk: b"data"})
    (root / "l.csv").write_bytes(f"path,identity\n{in_list},x\n".encode(encoding))
    (row,) = read_rows(source(root / "l.csv"))
    assert (row.source, row.identity, row.data) == (f"{root}/{on_disk}", "x", b"data")


def test_the_spelling_of_the_list_goes_before_others(tmp_path: Path, write_images, read_rows) -> None:
    root = write_images(tmp_path / "faces", {"a\\1.jpg": b"written so", "a/1.jpg": b"another"})
    (root / "l.txt").write_text("a\\1.jpg\n")
    (row,) = read_rows(source(root / "l.txt"))
    assert row.data == b"written so"


@pytest.mark.parametrize("images", [1, 2, 100])
def test_lines_that_do_not_parse_are_passed_over_by_number_between_the_portions(
    root: Path, images: int, read_rows
) -> None:
    (root / "l.csv").write_text("path,identity\nann/1.jpg,a\nann/1.jpg,Smith, Ann\nempty.jpg,b\n")
    cut = source(root / "l.csv", chunk_images=images)
    assert [row.identity for row in read_rows(cut)] == ["a", "b"]
    (passed,) = [part for one in containers(cut) for part in scan(one, cut) if isinstance(part, PassedOver)]
    assert passed.where == f"{root}/l.csv, line 3"


def test_a_picture_listed_under_two_names_is_a_row_for_each(root: Path, read_rows) -> None:
    (root / "l.csv").write_text("path,identity\nann/1.jpg,ann\nann/1.jpg,bob\n")
    assert [row.identity for row in read_rows(source(root / "l.csv"))] == ["ann", "bob"]


def test_mxnets_list_names_the_pictures_it_packs(tmp_path: Path, write_images, read_rows) -> None:
    root = write_images(tmp_path, {"ann/1.jpg": b"1", "bob/2.jpg": b"2"})
    (root / "train.lst").write_text("5\t0.000000\tann/1.jpg\n9\t1.000000\tbob/2.jpg\n")
    assert [(row.identity, row.data) for row in read_rows(source(root / "train.lst"))] == [("0", b"1"), ("1", b"2")]


def test_a_list_that_is_no_text_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(bytes(range(200)) * 30)
    with pytest.raises(UserError, match=r"l\.csv is no text"):
        describe(source(tmp_path / "l.csv"))
