"""Commands at a place of one process."""

import resource
import sys
from pathlib import Path

import pytest

from jobs.child import run_command
from jobs.faults.fault import Fault, write_fault
from jobs.faults.surroundings import Surroundings
from jobs.places.place import Command, open_place
from jobs.places.settings import SingleSettings
from pipelines.run_folder import fault_file

PLACE = open_place(SingleSettings(), python=Path(sys.executable))


def run(log: Path, code: str, **env: str) -> Fault | None:
    command = Command((sys.executable, "-c", code), env)
    around = Surroundings(SingleSettings(), "local", {"store": log.parent})
    return run_command(PLACE, command, log, around=around)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def test_output_goes_to_the_log_after_what_is_there(log: Path) -> None:
    log.write_text("before\n")
    assert run(log, "import os, sys; print(os.environ['WORD']); print('to err', file=sys.stderr)", WORD="out") is None
    assert sorted(log.read_text().splitlines()) == ["before", "out", "to err"]


def test_an_exit_code_is_a_fault(log: Path) -> None:
    assert run(log, "raise SystemExit(3)") == Fault(False, "exit code 3")


def test_a_process_that_was_killed_is_named_with_the_remedy(log: Path) -> None:
    fault = run(log, "import os; os.kill(os.getpid(), 9)")
    assert fault is not None
    assert fault.line.startswith("the process of the stage was killed (signal 9), probably by the kernel for memory")


def test_a_kill_outweighs_what_other_processes_say_in_its_wake_but_no_mistake_of_the_user(log: Path) -> None:
    def code(is_users: bool) -> str:
        fault = f"write_fault(Path({str(log)!r}), Fault({is_users}, 'x'))"
        said = "print('Process name: 1\\nExit code: 137'); raise SystemExit(1)"
        return f"from pathlib import Path; from jobs.faults.fault import Fault, write_fault; {fault}; {said}"

    wake = run(log, code(is_users=False))
    assert wake is not None
    assert wake.line.startswith("rank 1 was killed (signal 9)")
    assert run(log, code(is_users=True)) == Fault(True, "x")


def test_a_limit_under_which_spark_cannot_start_is_named_though_nobody_does(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (200, 300))
    command = Command((sys.executable, "-c", "raise SystemExit(1)"), {})
    around = Surroundings(SingleSettings(), "spark", {})
    fault = run_command(PLACE, command, log, around=around)
    assert fault is not None
    assert "`ulimit -n` is 200 here (at most 300)" in fault.line
    assert fault.is_final


def test_the_cause_is_looked_for_in_the_output_of_this_attempt_alone(log: Path) -> None:
    log.write_text("OSError: [Errno 24] Too many open files\n")
    assert run(log, "print('it broke'); raise SystemExit(1)") == Fault(False, "exit code 1, after 'it broke'")
    fault = run(log, "print('java.io.IOException: Too many open files'); raise SystemExit(1)")
    assert fault is not None
    assert "`ulimit -n` is" in fault.line
    assert fault.is_final


def test_exit_code_2_is_the_users_with_its_last_line(log: Path) -> None:
    assert run(log, "print('usage'); print('no such host'); raise SystemExit(2)") == Fault(True, "no such host")


def test_the_file_of_the_job_says_more_than_the_launchers_exit_code(log: Path) -> None:
    code = f'open({str(fault_file(log))!r}, \'w\').write(\'{{"is_users": true, "line": "mine"}}\'); raise SystemExit(1)'
    assert run(log, code) == Fault(True, "mine")


def test_the_fault_of_an_earlier_attempt_is_forgotten(log: Path) -> None:
    write_fault(log, Fault(True, "old"))
    assert run(log, "raise SystemExit(1)") == Fault(False, "exit code 1")
