"""A listing changes when, and only when, the files do."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.listing import describe_files, describe_pairs, reference_sources
from jobs.settings import RunSettings
from pipelines.settings import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.jpg", "a/1.jpg", "a/\udce9.jpg"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return tmp_path / "set"


def digest(path: Path) -> str:
    return describe_files(path, setting="faces.model").digest


def test_files_and_bytes_are_counted(folder: Path) -> None:
    listing = describe_files(folder, setting="faces.model")
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
    assert describe_files(folder / "a" / "1.jpg", setting="faces.model").num_files == 1


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_nothing_to_list_is_the_users_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"^faces\.model=.*{name} does not exist or holds no file; give the path"):
        describe_files(tmp_path / name, setting="faces.model")


def _judged(tmp_path: Path, **reference: Any) -> RunSettings:
    (tmp_path / "lfw").mkdir()
    (tmp_path / "lfw" / "a.jpg").write_bytes(b"123")
    (tmp_path / "cfp.tar").write_bytes(b"12345")
    (tmp_path / "age.bin").write_bytes(b"1234567")
    sets = {
        "held_out": {},
        "lfw": {"pairs": "pairs_txt", "path": str(tmp_path / "lfw")},
        "cfp": {"pairs": "pairs_txt", "path": str(tmp_path / "cfp.tar")},
        "age": {"pairs": "bin", "path": str(tmp_path / "age.bin")},
        "late": {"pairs": "bin", "path": str(tmp_path / "late.bin")},
    }
    source = {"kind": "folder", "path": "/faces"}
    return RunSettings.model_validate({"source": source, "evaluate": {"sets": sets}, "reference": reference})


def test_the_pictures_of_every_set_with_files_must_not_be_trained_on(tmp_path: Path) -> None:
    found = [(source.kind, Path(source.path).name) for source in reference_sources(_judged(tmp_path))]
    assert found == [("folder", "lfw"), ("tar", "cfp.tar"), ("pack", "age.bin"), ("pack", "late.bin")]


def test_without_the_evaluation_only_the_named_references_count(tmp_path: Path) -> None:
    named = [{"kind": "tar", "path": "/x.tar"}]
    (source,) = reference_sources(_judged(tmp_path, sources=named, with_evaluation=False))
    assert (source.kind, source.path) == ("tar", "/x.tar")


def test_the_files_of_a_set_are_those_that_it_is_judged_by(tmp_path: Path) -> None:
    settings = _judged(tmp_path)
    assert describe_pairs(settings, "held_out") is None
    sizes = {name: describe_pairs(settings, name) for name in ("lfw", "cfp", "age")}
    assert {name: one.num_bytes for name, one in sizes.items() if one} == {"lfw": 3, "cfp": 5, "age": 7}
    with pytest.raises(UserError, match=r"^evaluate\.sets\.late\.path=.*late\.bin does not exist or holds no file"):
        describe_pairs(settings, "late")
