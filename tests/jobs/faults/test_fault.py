"""Faults of several processes, of which one counts."""

from pathlib import Path

import pytest

from jobs.faults.fault import Fault, forget_faults, read_fault, write_fault
from pipelines.run_folder import fault_file

MISTAKE, CAUSE, WAKE = Fault(True, "mistake"), Fault(False, "cause"), Fault(False, "wake", is_consequence=True)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ([WAKE, CAUSE], CAUSE),
        ([CAUSE, WAKE], CAUSE),
        ([CAUSE, MISTAKE, WAKE], MISTAKE),
        ([CAUSE, Fault(False, "later")], CAUSE),
        ([WAKE, Fault(False, "later", is_consequence=True)], WAKE),
        ([Fault(False, "full", is_final=True), Fault(False, "later")], Fault(False, "full", is_final=True)),
        ([], None),
    ],
)
def test_the_first_cause_in_time_counts_and_a_mistake_of_the_user_before_it(
    written: list[Fault], counts: Fault | None, log: Path
) -> None:
    for fault in written:
        write_fault(log, fault)
    assert read_fault(log) == counts


def test_a_line_that_was_cut_is_passed_over(log: Path) -> None:
    write_fault(log, CAUSE)
    with fault_file(log).open("a") as stream:
        stream.write('{"is_users": true, "li')
    assert read_fault(log) == CAUSE


def test_faults_that_cannot_be_written_are_no_error(tmp_path: Path) -> None:
    write_fault(tmp_path / "nowhere" / "train.log", CAUSE)
    assert read_fault(tmp_path / "nowhere" / "train.log") is None


def test_faults_of_an_earlier_attempt_are_forgotten(log: Path) -> None:
    write_fault(log, CAUSE)
    forget_faults(log)
    assert read_fault(log) is None
    forget_faults(log)
