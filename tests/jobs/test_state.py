"""run.json is whole after every change."""

import os
import subprocess
from pathlib import Path

import pytest

from jobs.state import RunRecord, RunState, StageState, now, read_state
from pipelines.settings import UserError


def state(pid: int) -> RunState:
    stages = {"ingest": StageState(fingerprint="ab", folder="store/records/ab")}
    return RunState(name="x", pid=pid, started=now(), source=None, ranks=2, stages=stages)


def test_every_change_is_on_disk_at_once(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "run.json", state(os.getpid()))
    record.update("ingest", status="done", seconds=1.5, counts={"rows": 3})
    assert read_state(tmp_path) == record.state
    record.end("done")
    again = read_state(tmp_path)
    assert again is not None
    assert again.ended is not None
    assert again.stages["ingest"].counts == {"rows": 3}


def test_a_record_without_its_process_is_not_alive() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert state(os.getpid()).is_alive
    assert not state(gone.pid).is_alive


def test_a_run_that_never_was_has_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_a_broken_record_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is no record of a run") as raised:
        read_state(tmp_path)
    assert "\n" not in str(raised.value)
