"""Runs one command and takes it down with everything it started, when it ends or when the driver dies.

Spark's JVM, its Python workers and horovodrun's ranks put themselves into sessions of their own, where no signal to a
group reaches them. So the warden is a subreaper (Linux): whatever loses its parent becomes its child, and is found. It
knows that the driver died when its standard input, a pipe whose other end only the driver holds, comes to an end.

Started as a script by the driver, with nothing but the standard library.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

GRACE_SECONDS = 5.0  # between asking to end and killing
POLL_SECONDS = 0.05

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(argv: list[str]) -> int:
    """Run the command; its exit code, or 128 and the signal that ended it."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _stop)
    # If the warden itself is killed, the command goes with it.
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    )
    threading.Thread(target=_wait_for_driver_to_die, daemon=True).start()
    code = child.wait()
    _end_descendants()
    return code if code >= 0 else 128 - code


def _stop(signum: int, frame: FrameType | None) -> None:
    _end_descendants()
    os._exit(128 + signum)


def _wait_for_driver_to_die() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _end_descendants() -> None:
    # Only those alive now are asked: what they start while they tidy up shall finish, if it does so in time.
    for pid in _descendants():
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while alive := _descendants():
        if time.monotonic() > deadline:
            for pid in alive:
                _signal(pid, signal.SIGKILL)
        _reap()
        time.sleep(POLL_SECONDS)


def _descendants() -> set[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (status := _parent_and_state(folder)):
            parent, state = status
            if state != "Z" or parent == os.getpid():
                children.setdefault(parent, []).append(int(folder.name))
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        fresh = [pid for pid in children.get(waiting.pop(), []) if pid not in found]
        found.update(fresh)
        waiting += fresh
    return found


def _parent_and_state(folder: Path) -> tuple[int, str] | None:
    try:
        # The command's name stands in brackets and may hold anything, brackets too.
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), fields[0]


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _signal(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
