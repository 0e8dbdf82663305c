"""pipelines/sources/naming: a name's identity from a list, a pattern or a folder."""

from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources.naming import listed, naming
from pipelines.sources.settings import SOURCES, NamedSettings


def by(kind: str = "folder", **values: object) -> NamedSettings:
    settings = SOURCES.validate({"kind": kind, "path": "x", **values})
    assert isinstance(settings, NamedSettings)
    return settings


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
        (b"alice\\1.jpg", "alice"),
        (b".\\faces\\alice\\1.jpg", "alice"),
        (b"faces/alice\\1.jpg", "alice"),
        (b"C:\\alice\\1.jpg", "alice"),
        (b"\x83\x5c/1.jpg", "\\x83\\"),  # Shift JIS, in which the backslash is half of a letter
        (b"identity=alice/1.jpg", "alice"),
        (b"Identity=alice/date=2019-01-01/1.jpg", "alice"),
        (b"label=3/identity=alice/1.jpg", "alice"),
        (b"identity=Smith%2C%20Ann%2FB/1.jpg", "Smith, Ann/B"),
        (b"identity=__HIVE_DEFAULT_PARTITION__/1.jpg", None),
        (b"identity=/1.jpg", None),
        (b"camera=5/1.jpg", "camera=5"),
        (b" ann /1.jpg", "ann"),
        (b"-1/1.jpg", None),
        (b"1.0/1.jpg", "1"),
        (b"001/1.jpg", "001"),
        (b"nan/1.jpg", "nan"),
        ("Jose\u0301/1.jpg".encode(), "José"),
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
        (r"(ü+)", "fu\u0308u\u0308.jpg".encode(), "üü"),
        ("(u\u0308+)", "fü.jpg".encode(), "ü"),
        (r"([^/]+)/[^/]+$", b"x\\ann\\1.jpg", "ann"),
        (r"_(-?[0-9.]+)", b"ann_-1.jpg", None),
        (r"_([0-9.]+?)\.jpg", b"ann_7.0.jpg", "7"),
        (r"_(.*)\.jpg", b"ann_.jpg", None),
    ],
)
def test_the_first_group_of_a_pattern_is_the_identity(pattern: str, name: bytes, identity: str | None) -> None:
    assert naming(by(identity_pattern=pattern))(name) == identity


def test_a_list_goes_before_the_folder_and_knows_names_of_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "who.csv"
    path.write_bytes(b"path,identity\nann/1.jpg,7\nn\xff/2.jpg,J\xf6rg\n./x/3.jpg,9\n")
    identity_of = naming(by(identity_list=path))
    assert identity_of(b"ann/1.jpg") == identity_of(b"./ann/1.jpg") == "7"
    assert identity_of(b"n\xff/2.jpg") == "Jörg"
    assert identity_of(b"x/3.jpg") == "9"
    assert identity_of(b"ann/unlisted.jpg") is None


def test_a_list_goes_before_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "who.txt"
    path.write_text("ann/1.jpg 7\n")
    assert naming(by(identity_list=path, identity_pattern="(.)"))(b"ann/1.jpg") == "7"


@pytest.mark.parametrize(
    "written",
    [
        "alice/josé.jpg",
        "./alice/josé.jpg",
        "alice\\josé.jpg",
        ".\\alice\\josé.jpg",
        "alice//josé.jpg",
        " alice/josé.jpg ",
        "alice/jose\u0301.jpg",
        "/faces/alice/josé.jpg",
        "/faces//alice/./josé.jpg",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "cp1252"])
def test_a_name_of_the_list_is_found_however_it_is_spelled(tmp_path: Path, written: str, encoding: str) -> None:
    path = tmp_path / "who.tsv"
    path.write_bytes(f"path\tidentity\n{written}\tJos\u00e9\n".encode(encoding, "ignore"))
    if encoding == "cp1252" and "\u0301" in written:
        return  # which has no such letter
    identity_of = naming(by(path="/faces/", identity_list=path))
    assert identity_of("alice/josé.jpg".encode()) == "José"
    assert identity_of(b"alice\\jose\xcc\x81.jpg") == "José"
    assert identity_of(b"alice/jose.jpg") is None


def test_a_picture_that_a_list_names_twice_under_two_identities_has_none(tmp_path: Path) -> None:
    path = tmp_path / "who.csv"
    rows = [
        "a.jpg,ann",
        "./a.jpg,ann",
        "b.jpg,ann",
        "b.jpg,bob",
        "b.jpg,ann",
        "c.jpg,",
        "c.jpg,cid",
        "c.jpg,",
        "d.jpg,1.0",
    ]
    path.write_text("\n".join(["path,identity", *rows, "d.jpg,1", "e.jpg,eve,x"]))
    chosen = by(identity_list=path)
    assert [naming(chosen)(b"%c.jpg" % letter) for letter in b"abcde"] == ["ann", None, "cid", "1", None]
    found = listed(chosen)
    assert (found.num_conflicts, found.conflicts) == (1, [("b.jpg", "ann", "bob")])
    assert found.passed_over.counts == {"lines_with_more_fields_than_their_heading": 1}
    assert found.example == "a.jpg"


def test_a_list_without_an_identity_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("path,celebrity\na.jpg,ann\n")
    with pytest.raises(UserError, match=r"who\.csv gives no identity; call its column `identity`$"):
        naming(by(identity_list=tmp_path / "who.csv"))
