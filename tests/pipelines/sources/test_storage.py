"""pipelines/sources/storage: which files a path means, here and behind a URI."""

import os
import zipfile
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources import storage
from pipelines.sources.entry import Container


def found(path: Path | str, *suffixes: str) -> list[str]:
    return [container.path for container in storage.find(str(path), suffixes or (".tar",))]


@pytest.fixture
def root(tmp_path: Path, write_images) -> Path:
    names = ["a-000.tar", "a-001.tar", "a-002.tar", "b.tar", "sub/c.tar", "notes.txt", "sub/d.tar.gz", "x[1].tar"]
    root: Path = write_images(tmp_path / "set", {name: name.encode() for name in names})
    return root


def test_a_file_is_itself_whatever_its_name(root: Path) -> None:
    assert found(root / "notes.txt") == [f"{root}/notes.txt"]
    (container,) = storage.find(str(root / "b.tar"), (".tar",))
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
    assert list(storage.expand_braces(pattern)) == names


@pytest.mark.parametrize("span", ["5..4", "0..1000000", "0..99999999999999999999"])
def test_a_range_that_makes_no_sense_is_refused(span: str) -> None:
    with pytest.raises(UserError, match=rf"source\.path=a\{{{span}\}}: .* is no range of up to 1,000,000 numbers"):
        list(storage.expand_braces(f"a{{{span}}}"))


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
        (before,) = storage.find(uri, (".tar",))
        os.utime(root / "b.tar", ns=(7, 7 + len(uri)))
        (after,) = storage.find(uri, (".tar",))
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


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("s3://bucket/x", True),
        ("zip://a::b.zip", True),
        ("simplecache::s3://b/x", True),
        ("/data/x", False),
        ("data/x:y.jpg", False),
        ("a b.jpg", False),
        ("C:\\x", False),
    ],
)
def test_a_uri_is_told_from_a_path(path: str, remote: bool) -> None:
    assert storage.is_remote(path) == remote


def test_what_does_not_exist_is_an_error_of_the_system(tmp_path: Path) -> None:
    for path in (f"{tmp_path}/none", f"file://{tmp_path}/none", f"zip://none::{tmp_path}/none.zip"):
        with pytest.raises(OSError, match=r".+"):
            storage.open_binary(path)
        with pytest.raises(OSError, match=r".+"):
            storage.size_of(path)
