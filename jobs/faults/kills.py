"""Processes that ended by a signal: which of them it was, and whether the kernel did it for memory."""

import re
import signal
from pathlib import Path

from jobs.faults.fault import Fault
from jobs.faults.surroundings import Surroundings

_SIGNAL_BASE = 128  # a shell's exit code is this and the signal

# What a launcher says of the rank that ended first: its number and its exit code, negative or 128 and the signal.
_FIRST_RANK = (
    re.compile(r"Process name: (\d+)\s*\nExit code: (-?\d+)"),  # horovodrun
    re.compile(
        r"Root Cause \(first observed failure\):.*?rank\s*: (\d+).*?exitcode\s*: (-?\d+)", re.DOTALL
    ),  # torchrun
)
_MEANINGS = {
    signal.SIGBUS: "which happens when a file system is full under a file in memory, /dev/shm above all",
    signal.SIGILL: "which happens when a library was compiled for another processor",
    signal.SIGTERM: "which another process sent",
}


def memory_kills() -> int | None:
    """The number of processes that the kernel has killed for memory; None where it does not say.

    From the counters `oom_kill` of /proc/vmstat and of this process's cgroup (Linux, cgroup v2: memory.events).
    """
    counters = [Path("/proc/vmstat"), *_cgroup_events()]
    counts = [int(count) for path in counters for count in re.findall(r"^oom_kill (\d+)$", _read(path), re.MULTILINE)]
    return sum(counts) if counts else None


def explain_kill(code: int, output: str, around: Surroundings, *, for_memory: bool) -> Fault | None:
    """The fault of an attempt in which a process was ended by a signal; None where none was.

    Args:
        code: exit code of the command.
        output: what the command and the launcher said.
        for_memory: the kernel has killed a process for memory meanwhile.
    """
    who, signum = _victim(code, output, around)
    if signum is None:
        return None
    if signum == signal.SIGKILL and for_memory:
        return Fault(False, f"{who} was killed by the kernel for memory; {around.memory_remedy()}", is_final=True)
    if signum == signal.SIGKILL:
        reason = "probably by the kernel for memory, unless somebody ended it"
        return Fault(False, f"{who} was killed (signal 9), {reason}; {around.memory_remedy()}")
    meaning = f", {_MEANINGS[signum]}" if signum in _MEANINGS else ""
    return Fault(False, f"{who} ended by {signum.name}{meaning}")


def _victim(code: int, output: str, around: Surroundings) -> tuple[str, signal.Signals | None]:
    for pattern in _FIRST_RANK:
        if found := pattern.search(output):
            return f"rank {found[1]}", _signal(int(found[2]))
    names = {"spark": "Spark's JVM", "ranks": "the launcher of the ranks", "local": "the process of the stage"}
    who = "rank 0" if around.launcher == "ranks" and around.place.num_ranks == 1 else names[around.launcher]
    return who, _signal(code)


def _signal(code: int) -> signal.Signals | None:
    number = -code if code < 0 else code - _SIGNAL_BASE
    return signal.Signals(number) if number in signal.valid_signals() else None


def _cgroup_events() -> list[Path]:
    own = re.search(r"^0::(/.*)$", _read(Path("/proc/self/cgroup")), re.MULTILINE)
    root = Path("/sys/fs/cgroup")
    return [root / own[1].lstrip("/") / "memory.events"] if own else []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
