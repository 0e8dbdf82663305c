"""The faults that end a job, kept in a small file beside its log: a line for each process that failed."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.run_folder import fault_file


@dataclass(frozen=True)
class Fault:
    """The reason for which a job ended."""

    is_users: bool  # a mistake of the user, so that the stage is not tried again
    line: str
    is_final: bool = False  # another attempt would end in the same way, so that there is none
    is_consequence: bool = False  # of the end of another process, which has a fault of its own

    @property
    def weight(self) -> int:
        """The rank among several faults of an attempt: the heaviest one counts, of equal ones the first in time."""
        return 2 if self.is_users else 0 if self.is_consequence else 1


def write_fault(log: Path, fault: Fault) -> None:
    """Add a fault to those of this attempt, for a driver that sees only the exit code of a launcher.

    A file system that is full takes none; the driver then looks at the log and at the file systems by itself.
    """
    line = json.dumps(asdict(fault)).encode() + b"\n"
    with contextlib.suppress(OSError):
        stream = os.open(fault_file(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            # One write to the end of a file, so that the lines of several ranks do not mix.
            os.write(stream, line)
        finally:
            os.close(stream)


def read_fault(log: Path) -> Fault | None:
    """The fault that counts; None where no process could write its own."""
    try:
        lines = fault_file(log).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    faults = [fault for line in lines if (fault := _parse(line)) is not None]
    # Of equal weights max() takes the first.
    return max(faults, key=lambda fault: fault.weight, default=None)


def forget_faults(log: Path) -> None:
    """Remove the faults of an earlier attempt."""
    fault_file(log).unlink(missing_ok=True)


def _parse(line: str) -> Fault | None:
    """The fault of a line; None for one that was cut."""
    try:
        return Fault(**json.loads(line))
    except (ValueError, TypeError):
        return None
