"""The table of causes: the known reasons for which a job ends, by the words that systems use for them, and the remedy.

An error is often reported by another: a full disk by the JVM, the JVM's exception by Py4J, that of a Python worker by
Spark, the end of a rank by the collectives of the others. So the table looks at all that is said, and not at the type
of the last exception.
"""

import re
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.faults.fault import Fault
from jobs.faults.surroundings import Surroundings
from pipelines.manifest import MANIFEST_NAME

# The words that are found and the surroundings of the job -> the line.
Tell = Callable[[re.Match[str], Surroundings], str]


_MIN_OPEN_FILES = 400  # Spark's JVM holds some 340 before it does anything


@dataclass(frozen=True)
class Cause:
    """One reason for which a job ends."""

    pattern: re.Pattern[str]
    tell: Tell
    is_users: bool = False
    is_final: bool = True  # trying again would end in the same way


def find_cause(text: str, around: Surroundings) -> Fault | None:
    """The fault for the first line of the table that occurs in a text; None where none does."""
    for cause in CAUSES:
        if found := cause.pattern.search(text):
            return Fault(cause.is_users, cause.tell(found, around), cause.is_final)
    return None


def suspect_limits(around: Surroundings) -> Fault | None:
    """The fault of a process that ended without a word where a limit lets it not even start."""
    if around.launcher == "spark" and resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _MIN_OPEN_FILES:
        return Fault(False, _open_files(), is_final=True)
    if full := around.full_file_system(is_certain=False):
        return Fault(False, full, is_final=True)
    return None


def _full(found: re.Match[str], around: Surroundings) -> str:
    return around.full_file_system() or (
        f"a file system was full while the stage ran and is not any more; it writes to {around.listed()}"
    )


def _quota(found: re.Match[str], around: Surroundings) -> str:
    return f"the disk quota of this user is used up; the stage writes to {around.listed()}: make room or raise it"


def _too_many_files(found: re.Match[str], around: Surroundings) -> str:
    return _open_files()


def _open_files() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"a process has too many open files; `ulimit -n` is {soft:,} here (at most {hard:,}): raise it before "
        "`ringmill run`, or lower the number of cores in place.master and of feed.threads"
    )


def _too_many_processes(found: re.Match[str], around: Surroundings) -> str:
    return "the system allows this user no further thread or process; raise `ulimit -u` or the limit of the container"


def _driver_memory(found: re.Match[str], around: Surroundings) -> str:
    return (
        f"place.driver_memory={around.place.driver_memory} does not suit the JVM of Spark ({_squeezed(found[0])}); "
        "Spark needs at least 512m, and no more than this machine has"
    )


def _executor_memory(found: re.Match[str], around: Surroundings) -> str:
    return f"the executors of Spark have too little memory ({_squeezed(found[0])}); raise place.executor_memory"


def _heap(found: re.Match[str], around: Surroundings) -> str:
    if around.is_cluster:
        return (
            f"a JVM of Spark ran out of memory ({_squeezed(found[0])}); raise place.executor_memory, or "
            f"place.driver_memory (now {around.place.driver_memory}) if it was the driver's"
        )
    return (
        f"place.driver_memory={around.place.driver_memory} is too little: the JVM of Spark ran out of memory "
        f"({_squeezed(found[0])}); raise it"
    )


def _result_size(found: re.Match[str], around: Surroundings) -> str:
    return f"{_squeezed(found[0])}; raise place.spark_conf.spark.driver.maxResultSize"


def _worker(found: re.Match[str], around: Surroundings) -> str:
    return (
        "a Python worker of Spark crashed or was killed, probably for memory; lower the number of cores in "
        "place.master, so that fewer work at a time"
    )


def _no_program(found: re.Match[str], around: Surroundings) -> str:
    return (
        f"the executors of Spark have no {found[1]}; install the same Python there, or send one by "
        "place.spark_conf.spark.archives (docs/environments.md)"
    )


def _gpu_memory(found: re.Match[str], around: Surroundings) -> str:
    return f"the memory of a GPU is too small ({_squeezed(found[0])}); lower recipe.batch_size, or use more ranks"


def _memory(found: re.Match[str], around: Surroundings) -> str:
    return f"a process got no more memory ({_squeezed(found[0])}); {around.memory_remedy()}"


def _disk_errors(found: re.Match[str], around: Surroundings) -> str:
    return f"a disk or network file system reports errors ({found[0]}); the stage writes to {around.listed()}"


def _damaged(found: re.Match[str], around: Surroundings) -> str:
    # The name of the file may stand before or after the complaint.
    path = next((Path(named) for named in found.groups() if named), None)
    if path is None:
        return f"a Parquet file that the stage reads is damaged or was cut ({_squeezed(found[0])})"
    artefact = next((folder for folder in path.parents if (folder / MANIFEST_NAME).is_file()), None)
    if artefact is None:
        return f"{path} is damaged or was cut: it is no whole Parquet file; put it right or remove it"
    return f"{path} is damaged or was cut; remove {artefact}, and the next run makes it again"


def _squeezed(text: str) -> str:
    return " ".join(text.split())[:300]


_FILE = r"(?:file:)?(/[^\s'\"]+?\.parquet)"
_NOT_PARQUET = (
    r"(?:is not a Parquet file|Could not read footer|CANNOT_READ_FILE_FOOTER|Expected magic number"
    r"|Parquet magic bytes not found|Parquet file size is \d+ bytes|Couldn't deserialize thrift"
    r"|Could not open Parquet input source|CRC checksum verification failed|could not read page)"
)

CAUSES: tuple[Cause, ...] = (
    Cause(re.compile(r"No space left on device|\[Errno 28\]|There is not enough space on the disk"), _full),
    Cause(re.compile(r"Disk quota exceeded|\[Errno 122\]"), _quota),
    Cause(re.compile(r"Too many open files|\[Errno 2[34]\]"), _too_many_files),
    Cause(
        re.compile(r"unable to create (?:new )?native thread|can't start new thread|fork: Resource temporarily"),
        _too_many_processes,
    ),
    Cause(re.compile(r"System memory \d+ must be at least \d+"), _driver_memory, is_users=True),
    Cause(re.compile(r"Executor memory \d+ must be at least \d+"), _executor_memory, is_users=True),
    Cause(
        re.compile(
            r"Too small (?:maximum|initial) heap|Invalid (?:maximum|initial) heap size[^\n]*"
            r"|Could not reserve enough space[^\n]*|The specified size exceeds the maximum representable size"
            r"|Initial heap size set to a larger value[^\n]*|insufficient memory for the Java Runtime Environment"
        ),
        _driver_memory,
        is_users=True,
    ),
    Cause(re.compile(r"(?:Container killed|Container from a bad node|OOMKilled)[^\n]*"), _executor_memory),
    Cause(re.compile(r"OutOfMemoryError: (?!CUDA)[^\n]+"), _heap, is_users=True),
    Cause(re.compile(r"Total size of serialized results[^\n]*maxResultSize[^\n]*"), _result_size, is_users=True),
    Cause(re.compile(r'Cannot run program "([^"]+)"'), _no_program, is_users=True),
    Cause(re.compile(r"CUDA out of memory[^\n.]*"), _gpu_memory, is_users=True),
    Cause(
        re.compile(r"\[Errno 12\][^\n]*|Cannot allocate memory|can't allocate memory[^\n.]*|\bMemoryError\b"), _memory
    ),
    Cause(re.compile(r"Python worker exited unexpectedly"), _worker, is_final=False),
    Cause(re.compile(r"Input/output error|Read-only file system|Stale file handle"), _disk_errors),
    Cause(re.compile(rf"{_FILE}[^\n]{{0,200}}{_NOT_PARQUET}|{_NOT_PARQUET}[^\n]{{0,200}}?{_FILE}"), _damaged),
    Cause(re.compile(_NOT_PARQUET), _damaged),
)
