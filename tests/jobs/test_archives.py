"""Packed environments that a run is given: those of other code are refused before it."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from jobs.archives import check_archives, read_facts
from jobs.settings import PROJECT
from pipelines.manifest import code_version
from pipelines.settings import UserError


def write_archive(path: Path, **facts: str) -> Path:
    """An archive that holds nothing but its facts."""
    content = json.dumps(facts).encode()
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("environment.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


def test_an_archive_of_the_same_code_is_taken(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "e.tar.gz", pipelines=code_version(PROJECT / "pipelines"))
    for written in (f"{archive}#environment", f"file://{archive}", f"hdfs:///far.tar.gz, {archive}"):
        check_archives({"spark.archives": written})
    check_archives({})


def test_an_archive_of_other_code_is_refused_with_the_command_that_packs_it(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "e.tar.gz", **{"pipelines": "0" * 12, "for": "executors"})
    with pytest.raises(UserError, match=r"another state of the code .*ringmill pack .*e\.tar\.gz --for executors$"):
        check_archives({"spark.archives": f"{archive}#environment"})


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.tar\.gz, which does not exist; write it by `ringmill pack"):
        check_archives({"spark.archives": f"file://{tmp_path / 'gone.tar.gz'}"})


def test_an_archive_that_somebody_else_packed_has_no_facts(tmp_path: Path) -> None:
    path = tmp_path / "e.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("bin"))
    assert read_facts(path) is None
    path.write_bytes(b"no archive")
    assert read_facts(path) is None
    check_archives({"spark.archives": str(path)})
