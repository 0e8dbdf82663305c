"""What lies in a run's folder, and its record."""

import os
import subprocess
from pathlib import Path

import pytest

from pipelines.run_folder import RunFolder, RunState, StageState, fault_file, named_folder, progress_file
from pipelines.settings import UserError


def state(pid: int) -> RunState:
    stages = {"ingest": StageState(fingerprint="ab", folder="store/records/ab")}
    return RunState(name="x", pid=pid, started="", source=None, ranks=2, stages=stages)


def test_every_file_of_a_run_has_its_place(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    found = [path.name for path in (run.settings, run.record, run.metrics, run.report)]
    assert found == ["run.yaml", "run.json", "metrics.jsonl", "report.html"]
    log = run.log("evaluate.cfp.v2-2")
    beside = [path.relative_to(tmp_path).as_posix() for path in (log, progress_file(log), fault_file(log))]
    assert beside == [f"logs/evaluate.cfp.v2-2.{end}" for end in ("log", "progress", "fault")]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    RunFolder(tmp_path).record.write_text(state(3).model_dump_json())
    assert RunFolder(tmp_path).read_state() == state(3)


def test_a_record_without_its_process_is_not_alive() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert state(os.getpid()).is_alive
    assert not state(gone.pid).is_alive


@pytest.mark.parametrize("status", ["waiting", "running", "done", "cached", "failed", "stopped"])
def test_a_stage_is_over_once_its_artefact_is_there(status: str) -> None:
    one = StageState.model_validate({"status": status, "fingerprint": None, "folder": None})
    assert one.is_over == (status in {"done", "cached"})


def test_a_run_that_never_was_has_no_state(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).read_state() is None


def test_a_broken_record_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is no record of a run") as raised:
        RunFolder(tmp_path).read_state()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["r", "2026_1", "my run (copy)", "é", "a" * 200, "a.b-c"])
def test_a_name_is_one_folder_below_the_runs(name: str) -> None:
    assert named_folder(Path("/runs"), name).path == Path("/runs", name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "../../x", "a/b", "a/", "/etc", "-r", "--runs", ".r.lock"),
        *("a\n", "a\0", "a\x1b[0m", "a" * 201, "é" * 101, "a" * 5000),
    ],
)
def test_a_name_that_leaves_the_runs_or_is_none_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="is no name of a run; give that of its folder below /runs") as raised:
        named_folder(Path("/runs"), name)
    assert "\n" not in str(raised.value)
