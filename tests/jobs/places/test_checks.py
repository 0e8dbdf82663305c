"""What is missing on this machine is told before the work, in one line."""

import os
import stat
import sys
from pathlib import Path

import pytest

from jobs.places.checks import check_horovod, check_java, check_libraries, check_writable, too_few_cores
from jobs.places.settings import LocalSettings, SingleSettings
from pipelines.settings import UserError


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_path_without_java_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none on the PATH; .*openjdk-17-jre-headless$"):
        check_java({"PATH": str(tmp_path)})


def test_java_home_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none at JAVA_HOME=.*nowhere"):
        check_java({"PATH": os.environ["PATH"], "JAVA_HOME": str(tmp_path / "nowhere")})


def test_an_old_java_is_refused(tmp_path: Path) -> None:
    java = script(tmp_path / "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(UserError, match=rf"^{java} is openjdk version .11.*cannot use; install Java 17"):
        check_java({"PATH": str(tmp_path)})


def test_a_new_java_is_taken(tmp_path: Path) -> None:
    script(tmp_path / "java", "echo 'openjdk version \"21\" 2023-09-19' >&2")
    check_java({"PATH": str(tmp_path)})


def test_a_store_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^store: .*file/store cannot be written .*; allow it, or set store to another"
    ):
        check_writable(tmp_path / "file" / "store", setting="store")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_store_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        check_writable(tmp_path, setting="store")


def test_the_probe_of_a_store_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "store", setting="store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_horovod_that_does_not_load_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / "horovod").mkdir()
    (tmp_path / "horovod" / "__init__.py").touch()
    (tmp_path / "horovod" / "torch.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    with pytest.raises(UserError, match=r"ImportError: undefined symbol: _ZN3c10\); run `ringmill install`"):
        check_horovod(Path(sys.executable), {**os.environ, "PYTHONPATH": str(tmp_path)})


def test_a_library_that_is_not_installed_is_named_before_a_stage_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "petastorm", None)
    with pytest.raises(UserError, match=r"^petastorm is not installed; run `ringmill install`$"):
        check_libraries(("six", "petastorm"))
    check_libraries(("six", "torch"))


def test_more_threads_than_cores_are_noted() -> None:
    cores = len(os.sched_getaffinity(0))
    assert too_few_cores(SingleSettings(threads_per_rank=cores)) == []
    (note,) = too_few_cores(SingleSettings(threads_per_rank=cores + 1))
    assert note.startswith(f"{cores + 1} threads of 1 ranks share the {cores} cores")


def test_ranks_of_other_hosts_take_no_cores_of_this_one() -> None:
    assert too_few_cores(LocalSettings(hosts="a:900,localhost:1")) == []
