"""pipelines/sources/locate: which archives a path means, here and behind a URI, and what is said of all else."""

import os
import zipfile
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources import locate, storage
from pipelines.sources.entry import Break, Container, PassedOver
from pipelines.sources.settings import SOURCES


def find(path: Path | str, *suffixes: str, **values: object) -> list[locate.Found]:
    settings = SOURCES.validate({"kind": "tar", "path": str(path), **values})
    return list(locate.find(settings, suffixes or (".tar",)))


def found(path: Path | str, *suffixes: str, **values: object) -> list[str]:
    return [one.path for one in find(path, *suffixes, **values) if isinstance(one, Container)]


@pytest.fixture
def root(tmp_path: Path, write_images) -> Path:
    names = ["a-000.tar", "a-001.tar", "a-002.tar", "b.tar", "sub/c.tar", "notes.txt", "sub/d.tar.gz", "x[1].tar"]
    root: Path = write_images(tmp_path / "set", {name: name.encode() for name in names})
    return root


def test_a_file_is_itself_whatever_its_name(root: Path) -> None:
    assert found(root / "notes.txt") == [f"{root}/notes.txt"]
    (container,) = find(root / "b.tar")
    assert container == Container(f"{root}/b.tar", 5, str((root / "b.tar").stat().st_mtime_ns))


def test_a_folder_is_all_files_below_it_with_the_suffix_in_order(root: Path) -> None:
    names = ["a-000.tar", "a-001.tar", "a-002.tar", "b.tar", "sub/c.tar", "x[1].tar"]
    assert found(root) == [f"{root}/{name}" for name in names]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a-*.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("a-00[12].tar", ["a-001.tar", "a-002.tar"]),
        ("**/c.tar", ["sub/c.tar"]),
        ("x[1].tar", ["x[1].tar"]),
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("{b,sub/c}.tar", ["b.tar", "sub/c.tar"]),
        ("a-{002,000}.tar", ["a-002.tar", "a-000.tar"]),
        ("{a-000,a-*}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("{a,a}-{000..001}.tar", ["a-000.tar", "a-001.tar"]),
    ],
)
def test_globs_and_braces_name_each_file_once(root: Path, pattern: str, names: list[str]) -> None:
    assert found(root / pattern) == [f"{root}/{name}" for name in names]


NASTY = [
    "data[1]",
    "{a,b}",
    "{000..001}",
    "*",
    "?",
    "[!a]",
    "#2",
    "a b ",
    "100%",
    "%20",
    "$x",
    "a\\b",
    "~",
    "a:b",
    "k=v",
]


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("address", ["", "file://"])
def test_a_folder_is_that_folder_whatever_its_name_also_in_front_of_a_pattern(
    tmp_path: Path, write_images, name: str, address: str
) -> None:
    write_images(tmp_path, {f"{name}/{one}.tar": b"x" for one in ("a0", "a1", "b")})
    # What the name would match as a pattern.
    write_images(tmp_path, {f"{other}/a0.tar": b"y" for other in ("data1", "a", "b", "000", "001", "c")})
    here = f"{address}{tmp_path}/{name}"
    assert found(here) == [f"{here}/{one}.tar" for one in ("a0", "a1", "b")]
    for pattern in ("a*.tar", "a{0..1}.tar", "a[01].tar", "**/a?.tar", "{a0,a1}.tar"):
        assert found(f"{here}/{pattern}") == [f"{here}/{one}.tar" for one in ("a0", "a1")]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a{b}c", ["a{b}c"]),
        ("{}", ["{}"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{a,b}{1..2}", ["a1", "a2", "b1", "b2"]),
        ("{a,}", ["a", ""]),
        ("{3..3}", ["3"]),
        ("s3://bucket/{0..1}.tar", ["s3://bucket/0.tar", "s3://bucket/1.tar"]),
    ],
)
def test_braces_stand_for_names_as_in_a_shell(pattern: str, names: list[str]) -> None:
    assert list(locate.expand_braces(pattern)) == names


@pytest.mark.parametrize("span", ["5..4", "0..1000000", "0..99999999999999999999"])
def test_a_range_that_makes_no_sense_is_refused(span: str) -> None:
    with pytest.raises(UserError, match=rf"source\.path=a\{{{span}\}}: .* is no range of up to 1,000,000 numbers"):
        list(locate.expand_braces(f"a{{{span}}}"))


@pytest.mark.parametrize("name", ["none.tar", "*.zip", "empty", "none/*.tar"])
def test_a_path_that_means_nothing_is_one_clear_line(root: Path, name: str) -> None:
    (root / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        found(root / name)
    expected = f"source.path={root / name} names no file that exists; name a .tar, a folder or a glob of them"
    assert str(caught.value) == expected


def test_a_missing_file_of_a_set_is_named_and_not_passed_over(root: Path) -> None:
    with pytest.raises(UserError, match=rf"names no file that exists: {root}/a-003\.tar; name a"):
        found(root / "a-{000..004}.tar")


def test_a_uri_is_listed_and_opened_like_a_path(root: Path) -> None:
    uris = [f"file://{root}/{name}" for name in ("a-000.tar", "a-001.tar", "a-002.tar")]
    assert found(f"file://{root}/a-*.tar") == uris
    assert found(f"file://{root}/a-{{000..002}}.tar") == uris
    assert found(f"file://{root}/sub") == [f"file://{root}/sub/c.tar"]
    with storage.open_binary(uris[1]) as stream:
        stream.seek(2)
        assert stream.read() == b"001.tar"
    assert storage.size_of(uris[1]) == 9


def test_what_lies_in_a_zip_is_listed_and_opened(root: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("in/b.tar", "in/a.tar", "in/c.txt", "top.tar"):
            archive.writestr(name, name * 3)
    tail = f"::{tmp_path}/all.zip"
    inside = [f"zip://in/a.tar{tail}", f"zip://in/b.tar{tail}"]
    assert found(f"zip://in{tail}") == found(f"zip://in/*.tar{tail}") == inside
    assert found(f"zip://top.tar::file://{tmp_path}/all.zip") == [f"zip://top.tar::file://{tmp_path}/all.zip"]
    for uri in inside:
        with storage.open_binary(uri) as stream:
            assert stream.read() == uri.partition("//")[2].partition("::")[0].encode() * 3
        assert storage.size_of(uri) == 24


def test_a_version_changes_when_the_content_does(root: Path) -> None:
    for uri in (f"{root}/b.tar", f"file://{root}/b.tar"):
        (before,) = find(uri)
        os.utime(root / "b.tar", ns=(7, 7 + len(uri)))
        (after,) = find(uri)
        assert before.version != after.version


@pytest.mark.parametrize(
    "uri", ["file://{}/none.tar", "file://{}/*.zip", "zip://*.tar::{}/none.zip", "zip://x::{}/b.tar"]
)
def test_a_uri_that_means_nothing_is_one_clear_line(root: Path, uri: str) -> None:
    uri = uri.format(root)
    with pytest.raises(UserError) as caught:
        found(uri)
    assert str(caught.value).startswith(f"source.path={uri} ")
    assert "\n" not in str(caught.value)


def test_an_unknown_scheme_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"^nosuch://x cannot be opened .*; install the package that fsspec names$"):
        found("nosuch://x")


def beside(path: Path | str, *suffixes: str, **values: object) -> dict[str, str]:
    """What is passed over: name -> reason."""
    parts = [one for one in find(path, *suffixes, **values) if isinstance(one, PassedOver)]
    names = {one.container.removeprefix(f"{path}/"): one.reason for one in parts}
    assert len(names) == len(parts)
    return names


def test_what_lies_beside_the_archives_of_a_folder_is_counted_by_what_it_is(tmp_path: Path, write_images) -> None:
    taken = ["a.tar", "B.TAR", "c.Tar", "sub/.d.tar"]
    compressed = ["a.tar.gz", "b.tgz", "c.TAR.BZ2", "d.tar.xz", "e.tar.zst", "sub/f.zip", "g.tbz2", "h.txz", "i.tar.Z"]
    others = ["README.md", "a.jpg", "sub/tar", "a.tar.part", ".hidden"]
    root = write_images(tmp_path / "set", dict.fromkeys([*taken, *compressed, *others], b"x"))
    os.mkfifo(root / "pipe.tar")
    (root / "gone.tar").symlink_to("nowhere.tar")
    assert found(root) == sorted(f"{root}/{name}" for name in [*taken, "gone.tar"])
    expected = dict.fromkeys(compressed, "compressed_files") | dict.fromkeys(others, "files_of_another_kind")
    assert beside(root) == {**expected, "pipe.tar": "devices_pipes_and_sockets"}
    by_uri = beside(f"file://{root}")
    assert {name: by_uri[name] for name in ("README.md", "a.tar.gz")} == {
        "README.md": "files_of_another_kind",
        "a.tar.gz": "compressed_files",
    }


@pytest.mark.parametrize("suffix", ["rec", "REC"])
def test_the_index_of_an_archive_is_part_of_it(tmp_path: Path, write_images, suffix: str) -> None:
    names = [f"a.{suffix}", "a.idx", "a.lst", "b.idx", f"c.{suffix}.gz", "property"]
    root = write_images(tmp_path / "set", dict.fromkeys(names, b"x"))
    settings = SOURCES.validate({"kind": "recordio", "path": str(root)})
    parts = list(locate.find(settings, (".rec",), companions=(".idx", ".lst")))
    assert [one.path for one in parts if isinstance(one, Container)] == [f"{root}/a.{suffix}"]
    assert {one.container.rpartition("/")[2]: one.reason for one in parts if isinstance(one, PassedOver)} == {
        "b.idx": "files_of_another_kind",
        "property": "files_of_another_kind",
        f"c.{suffix}.gz": "compressed_files",
    }


def test_links_to_archives_are_followed_within_the_folder_and_beyond_it_on_request(
    tmp_path: Path, write_images
) -> None:
    root = write_images(tmp_path / "set", {"sub/a.tar": b"x", "b.tar": b"x"})
    away = write_images(tmp_path / "away", {"c.tar": b"x", "d.tar": b"x"})
    (root / "again.tar").symlink_to("sub/a.tar")
    (root / "out.tar").symlink_to(away / "c.tar")
    (root / "folder").symlink_to("sub")
    (root / "far").symlink_to(away)
    inside = ["again.tar", "b.tar", "sub/a.tar"]
    refused = {"out.tar": "links_out_of_the_source", "far": "links_out_of_the_source"}
    assert found(root) == [f"{root}/{name}" for name in inside]
    assert beside(root) == {**refused, "folder": "links_to_folders"}
    wanted = ["again.tar", "b.tar", "far/c.tar", "far/d.tar", "out.tar", "sub/a.tar"]
    assert found(root, links_out="follow") == [f"{root}/{name}" for name in wanted]
    assert beside(root, links_out="follow") == {"folder": "links_to_folders"}
    # A pattern is held to the folder that is fixed of it.
    assert found(root / "*.tar") == [f"{root}/{name}" for name in ("again.tar", "b.tar")]
    assert beside(f"{root}/*.tar") == {f"{root}/out.tar": "links_out_of_the_source"}
    assert beside(f"{root}/*/c.tar") == {f"{root}/far/c.tar": "links_out_of_the_source"}
    assert beside(f"{root}/*") == {
        f"{root}/out.tar": "links_out_of_the_source",
        f"{root}/far": "links_out_of_the_source",
        f"{root}/folder": "links_to_folders",
        f"{root}/sub": "folders_that_a_pattern_matches",
    }
    # What is named is taken wherever it leads.
    assert found(root / "out.tar") == [f"{root}/out.tar"]
    assert found(root / "far") == [f"{root}/far/c.tar", f"{root}/far/d.tar"]


def test_a_path_to_a_pipe_is_passed_over_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    assert [(one.container, one.reason) for one in find(tmp_path / "pipe.tar") if isinstance(one, PassedOver)] == [
        (f"{tmp_path}/pipe.tar", "devices_pipes_and_sockets")
    ]


def test_a_folder_that_cannot_be_listed_is_a_broken_part(tmp_path: Path, write_images, as_nobody) -> None:
    root = write_images(tmp_path / "set", {"a.tar": b"x", "locked/b.tar": b"x"})
    (root / "locked").chmod(0)
    with as_nobody():
        parts = find(root)
    (root / "locked").chmod(0o755)
    assert parts[0] == Break(f"{root}/locked", 0, 0, "the folder cannot be listed (Permission denied)")
    assert [one.path for one in parts if isinstance(one, Container)] == [f"{root}/a.tar"]
