"""A listing changes when, and only when, the files do."""

import os
import shutil
from pathlib import Path

import pytest

from jobs.listing import describe_files
from pipelines.settings import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.jpg", "a/1.jpg", "a/\udce9.jpg"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return tmp_path / "set"


def digest(path: Path) -> str:
    return describe_files(path, setting="evaluate.path").digest


def test_files_and_bytes_are_counted(folder: Path) -> None:
    listing = describe_files(folder, setting="evaluate.path")
    assert (listing.num_files, listing.num_bytes) == (3, 15)


def test_a_copy_with_its_times_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert digest(tmp_path / "copy") == digest(folder)


@pytest.mark.parametrize("change", ["touch", "grow", "rename", "remove", "add"])
def test_every_change_of_a_file_changes_the_digest(folder: Path, change: str) -> None:
    before, path = digest(folder), folder / "a" / "1.jpg"
    times = path.stat()
    if change == "touch":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    elif change == "grow":
        path.write_bytes(b"123456")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "rename":
        path.rename(folder / "a" / "3.jpg")
    elif change == "remove":
        path.unlink()
    else:
        (folder / "c.jpg").touch()
    assert digest(folder) != before


def test_a_single_file_is_a_listing_too(folder: Path) -> None:
    assert describe_files(folder / "a" / "1.jpg", setting="evaluate.path").num_files == 1


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_nothing_to_list_is_the_users_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"^evaluate\.path=.*{name} does not exist or holds no file; give the path"):
        describe_files(tmp_path / name, setting="evaluate.path")
