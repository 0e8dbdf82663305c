"""Endings by a signal, as the launchers report them (their words come from horovodrun 0.28 and torchrun of torch 2)."""

import pytest

from jobs.faults.kills import explain_kill, memory_kills
from jobs.faults.surroundings import Surroundings
from jobs.places.settings import LocalSettings, SingleSettings

RANKS = Surroundings(LocalSettings(), "ranks", {})
SPARK = Surroundings(LocalSettings(), "spark", {})

HOROVODRUN = """[1]<stderr>:Killed
Process 1 exit with status code {code}.
Terminating remaining workers after failure of Process 1.
[0]<stderr>:Terminated
RuntimeError: Horovod detected that one or more processes exited with non-zero status, thus causing the job to be
terminated. The first process to do so was:
Process name: 1
Exit code: {code}
"""
TORCHRUN = """Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 13385)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  time      : 2026-11-28_14:56:50
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 13386)
"""


@pytest.mark.parametrize("output", [HOROVODRUN.format(code=137), TORCHRUN.format(code=-9)])
def test_the_rank_that_was_killed_is_named_with_the_remedy(output: str) -> None:
    fault = explain_kill(1, output, RANKS, for_memory=False)
    assert fault is not None
    assert fault.line == (
        "rank 1 was killed (signal 9), probably by the kernel for memory, unless somebody ended it; lower "
        "recipe.batch_size, feed.prefetch_batches or feed.shuffle_row_groups, or use fewer ranks on each host"
    )
    assert not fault.is_final


def test_a_kill_that_the_kernel_has_counted_is_for_memory_and_not_tried_again() -> None:
    fault = explain_kill(1, HOROVODRUN.format(code=137), RANKS, for_memory=True)
    assert fault is not None
    assert fault.line.startswith("rank 1 was killed by the kernel for memory; lower recipe.batch_size")
    assert fault.is_final


@pytest.mark.parametrize(
    ("code", "around", "who"),
    [
        (137, SPARK, "Spark's JVM was killed"),
        (137, RANKS, "the launcher of the ranks was killed"),
        (137, Surroundings(SingleSettings(), "ranks", {}), "rank 0 was killed"),
        (137, Surroundings(SingleSettings(), "local", {}), "the process of the stage was killed"),
        (-9, SPARK, "Spark's JVM was killed"),
        (139, SPARK, "Spark's JVM ended by SIGSEGV"),
        (135, SPARK, "Spark's JVM ended by SIGBUS, which happens when a file system is full"),
    ],
)
def test_without_the_word_of_a_launcher_the_process_is_that_of_the_command(
    code: int, around: Surroundings, who: str
) -> None:
    fault = explain_kill(code, "", around, for_memory=False)
    assert fault is not None
    assert fault.line.startswith(who)


@pytest.mark.parametrize(
    ("code", "output"),
    [(1, ""), (3, "x"), (127, ""), (1, HOROVODRUN.format(code=1)), (1, TORCHRUN.format(code=1)), (255, "")],
)
def test_an_exit_code_is_no_kill(code: int, output: str) -> None:
    assert explain_kill(code, output, RANKS, for_memory=True) is None


def test_the_kernel_is_asked_for_its_count() -> None:
    kills = memory_kills()
    assert kills is None or kills >= 0
