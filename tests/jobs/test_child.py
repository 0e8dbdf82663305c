"""Commands at a place of one process."""

import sys
from pathlib import Path

import pytest

from jobs.child import Fault, run_command, write_fault
from jobs.places.place import Command, open_place
from jobs.places.settings import SingleSettings
from pipelines.run_folder import fault_file

PLACE = open_place(SingleSettings(), python=Path(sys.executable))


def run(log: Path, code: str, **env: str) -> Fault | None:
    command = Command((sys.executable, "-c", code), env)
    return run_command(PLACE, command, log, timeout_seconds=None, on_tick=lambda seconds: None)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def test_output_goes_to_the_log_after_what_is_there(log: Path) -> None:
    log.write_text("before\n")
    assert run(log, "import os, sys; print(os.environ['WORD']); print('to err', file=sys.stderr)", WORD="out") is None
    assert sorted(log.read_text().splitlines()) == ["before", "out", "to err"]


def test_an_exit_code_is_a_fault(log: Path) -> None:
    assert run(log, "raise SystemExit(3)") == Fault(False, "exit code 3")


def test_a_signal_is_a_fault(log: Path) -> None:
    assert run(log, "import os; os.kill(os.getpid(), 9)") == Fault(False, "exit code 137")


def test_exit_code_2_is_the_users_with_its_last_line(log: Path) -> None:
    assert run(log, "print('usage'); print('no such host'); raise SystemExit(2)") == Fault(True, "no such host")


def test_the_file_of_the_job_says_more_than_the_launchers_exit_code(log: Path) -> None:
    code = f'open({str(fault_file(log))!r}, \'w\').write(\'{{"is_users": true, "line": "mine"}}\'); raise SystemExit(1)'
    assert run(log, code) == Fault(True, "mine")


def test_the_fault_of_an_earlier_attempt_is_forgotten(log: Path) -> None:
    write_fault(log, Fault(True, "old"))
    assert run(log, "raise SystemExit(1)") == Fault(False, "exit code 1")
