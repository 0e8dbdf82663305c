"""pipelines/sources/storage: what is opened is a plain file, here or behind a URI."""

import os
import socket
import threading
from pathlib import Path

import pytest

from pipelines.sources import storage


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


def _never_waits(path: str) -> str:
    """The error of opening, in a thread that must not be left waiting."""
    said: list[str] = []

    def work() -> None:
        try:
            storage.open_binary(path).close()
        except OSError as error:
            said.append(str(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), f"{path} is waited for"
    return "".join(said)


@pytest.mark.parametrize("form", ["{}", "file://{}", "zip://1.jpg::{}", "zip://1.jpg::file://{}"])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        for path in ("pipe.jpg", "link.jpg", "socket.jpg", ".", "/dev/zero", "/dev/tty"):
            assert "it is no plain file" in _never_waits(form.format(tmp_path / path)), path


def test_a_file_outside_the_folder_that_it_must_lie_in_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in2").mkdir()
    for place in ("in/a.jpg", "in2/b.jpg"):
        (tmp_path / place).write_bytes(b"x")
    (tmp_path / "in/up.jpg").symlink_to("../in2/b.jpg")
    (tmp_path / "in/same.jpg").symlink_to("a.jpg")
    (tmp_path / "in/way").symlink_to("../in2")
    below = os.fsencode(os.path.realpath(tmp_path / "in"))
    for name in ("in/a.jpg", "in/same.jpg"):
        for opened in (storage.open_local, storage.open_own):
            opened(os.fsencode(tmp_path / name), below=below).close()
    for name in ("in2/b.jpg", "in/up.jpg", "in/way/b.jpg"):
        with pytest.raises(OSError, match="lies outside the source"):
            storage.open_local(os.fsencode(tmp_path / name), below=below)
    with pytest.raises(OSError, match="lies outside the source"):
        storage.open_own(os.fsencode(tmp_path / "in/up.jpg"), below=below)
    storage.open_local(os.fsencode(tmp_path / "in2/b.jpg"), below=b"/").close()
