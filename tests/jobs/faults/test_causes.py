"""Errors as Spark, Py4J, pyarrow, torch and the system word them, and the line that each becomes."""

import re
from pathlib import Path

import pytest

from jobs.faults.causes import CAUSES, find_cause
from jobs.faults.fault import Fault
from jobs.faults.surroundings import Surroundings
from jobs.places.settings import ClusterSettings, LocalSettings

LOCAL = Surroundings(LocalSettings(driver_memory="64m"), "spark", {})
CLUSTER = Surroundings(ClusterSettings(master="yarn", hosts="a:1"), "spark", {})
RANKS = Surroundings(LocalSettings(), "ranks", {})

SPARK_ABORTED = (
    "Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times, most recent failure: Lost task 0.0 "
)

# What is said, by whom, and a pattern of the line.
SAID = [
    ("OSError: [Errno 28] No space left on device: '/s/x'", LOCAL, "a file system was full while the stage ran"),
    (f"{SPARK_ABORTED}java.io.IOException: No space left on device\n\tat x", LOCAL, "a file system was full"),
    (
        "PythonException: \n  An exception was thrown\nOSError: [Errno 28] Error writing bytes to file",
        LOCAL,
        "was full",
    ),
    ("OSError: [Errno 122] Disk quota exceeded", LOCAL, "^the disk quota of this user is used up"),
    ("OSError: [Errno 24] Too many open files: '/s/x'", RANKS, r"`ulimit -n` is [\d,]+ here .*raise it"),
    ("java.net.SocketException: Too many open files", LOCAL, "`ulimit -n`"),
    ("OSError: [Errno 23] Too many open files in system", LOCAL, "`ulimit -n`"),
    ("java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory", LOCAL, "`ulimit -u`"),
    ("RuntimeError: can't start new thread", RANKS, "`ulimit -u`"),
    (
        "java.lang.IllegalArgumentException: System memory 62390272 must be at least 471859200. Please increase heap",
        LOCAL,
        r"^place.driver_memory=64m does not suit .*\(System memory 62390272 must be at least 471859200\); Spark needs",
    ),
    ("Executor memory 268435456 must be at least 471859200. Please", CLUSTER, "raise place.executor_memory"),
    ("Error occurred during initialization of VM\nToo small maximum heap", LOCAL, "place.driver_memory=64m does not"),
    ("Invalid maximum heap size: -Xmx900t", LOCAL, "place.driver_memory=64m does not suit"),
    ("Could not reserve enough space for 999999k object heap", LOCAL, "place.driver_memory=64m does not suit"),
    (
        "java.lang.OutOfMemoryError: Java heap space",
        LOCAL,
        r"^place.driver_memory=64m is too little: .*Java heap space",
    ),
    ("java.lang.OutOfMemoryError: GC overhead limit exceeded", LOCAL, "^place.driver_memory=64m is too little"),
    ("java.lang.OutOfMemoryError: Java heap space", CLUSTER, "raise place.executor_memory, or place.driver_memory"),
    ("Container killed by YARN for exceeding memory limits. 5 GB of 4 GB", CLUSTER, "raise place.executor_memory"),
    ("ExecutorLostFailure (executor 1 exited) Reason: OOMKilled", CLUSTER, "raise place.executor_memory"),
    (
        "Total size of serialized results of 9 tasks (2.1 GiB) is bigger than spark.driver.maxResultSize (1 GiB)",
        LOCAL,
        "raise place.spark_conf.spark.driver.maxResultSize",
    ),
    ('java.io.IOException: Cannot run program "python9": error=2', CLUSTER, "the executors of Spark have no python9"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", RANKS, "memory of a GPU .*batch_size"),
    ("MemoryError: Unable to allocate 9 GiB for an array", RANKS, "got no more memory .*lower recipe.batch_size"),
    ("OSError: [Errno 12] Cannot allocate memory", LOCAL, "got no more memory .*place.master"),
    ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", RANKS, "got no more memory"),
    ("org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)", LOCAL, "a Python worker of Spark"),
    ("OSError: [Errno 5] Input/output error: '/s/x'", LOCAL, r"reports errors \(Input/output error\)"),
    ("OSError: [Errno 30] Read-only file system: '/s/x'", LOCAL, r"reports errors \(Read-only file system\)"),
    ("java.io.IOException: Stale file handle", LOCAL, r"reports errors \(Stale file handle\)"),
    (
        "java.lang.RuntimeException: file:/s/a.parquet is not a Parquet file. Expected magic number at tail, but found",
        LOCAL,
        r"^/s/a.parquet is damaged or was cut",
    ),
    ("Could not read footer for file: file:/s/a.parquet", LOCAL, "^/s/a.parquet is damaged or was cut"),
    (
        "ArrowInvalid: Could not open Parquet input source '/s/a.parquet': Parquet file size is 0 bytes",
        RANKS,
        "/s/a.par",
    ),
    (
        "ArrowInvalid: Parquet magic bytes not found in footer. Either the file is corrupted",
        RANKS,
        "a Parquet file that",
    ),
]


@pytest.mark.parametrize(
    ("said", "around", "line"), SAID, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_what_is_said_becomes_a_line_with_the_remedy(said: str, around: Surroundings, line: str) -> None:
    fault = find_cause(said, around)
    assert fault is not None
    assert re.search(line, fault.line), fault.line
    assert "\n" not in fault.line
    assert not fault.is_consequence


def test_every_line_of_the_table_has_an_example() -> None:
    def first(said: str) -> int:
        return next(number for number, cause in enumerate(CAUSES) if cause.pattern.search(said))

    assert {first(said) for said, _, _ in SAID} == set(range(len(CAUSES)))


@pytest.mark.parametrize(
    "said", ["ValueError: 28 is not 24", "KeyError: 'memory'", "ringmill done: 28 images, /s/a.parquet written", ""]
)
def test_what_is_not_known_has_no_cause(said: str) -> None:
    assert find_cause(said, LOCAL) is None


def test_settings_are_the_mistake_of_the_user_and_a_full_disk_is_not() -> None:
    def is_users(said: str) -> bool:
        fault = find_cause(said, LOCAL)
        assert fault is not None
        assert fault.is_final
        return fault.is_users

    assert is_users("System memory 1 must be at least 2")
    assert is_users("java.lang.OutOfMemoryError: Java heap space")
    assert not is_users("No space left on device")
    assert not is_users("Too many open files")
    assert not is_users("file:/s/a.parquet is not a Parquet file")


def test_a_crash_of_a_worker_is_tried_again() -> None:
    assert find_cause("Python worker exited unexpectedly (crashed)", LOCAL) == Fault(
        False,
        "a Python worker of Spark crashed or was killed, probably for memory; lower the number of cores in "
        "place.master, so that fewer work at a time",
    )


def test_a_damaged_file_of_an_artefact_names_the_folder_to_remove(tmp_path: Path) -> None:
    rows = tmp_path / "records" / "ab" / "rows"
    rows.mkdir(parents=True)
    (rows.parent / "manifest.json").touch()
    fault = find_cause(f"file:{rows}/0.parquet is not a Parquet file (length is too low: 0)", LOCAL)
    assert fault is not None
    assert (
        fault.line == f"{rows}/0.parquet is damaged or was cut; remove {rows.parent}, and the next run makes it again"
    )
