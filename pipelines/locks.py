"""Locks between the processes that build an artefact: the kernel frees one when its holder ends for any reason.

Two locks belong to a folder. A driver holds the first for as long as it works at a stage, so that another driver waits
before it starts any process. The job that writes holds the second, so that a job that was started by hand, or one whose
driver was killed, is never joined by another. Each lock is a file beside the folder, and names its holder.
"""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from pipelines.settings import UserError

Role = Literal["driver", "writer"]

REMIND_SECONDS = 600.0  # between two reports of a process that waits
_POLL_SECONDS = 0.2
_SUFFIXES: dict[Role, str] = {"driver": ".driver.lock", "writer": ".lock"}
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class FolderLock:
    """One of the locks of a folder, which need not exist.

    Args:
        by: the work for which the lock is taken, as in "run mine"; those who wait are told.
    """

    def __init__(self, folder: Path, role: Role = "writer", *, by: str = "") -> None:
        self._folder, self._by = folder, by
        self._path = folder.with_name(f".{folder.name}{_SUFFIXES[role]}")
        self._stream: BinaryIO | None = None

    def take(self, *, seconds: float = 0.0) -> bool:
        """Take the lock if it becomes free within so many seconds.

        Raises:
            UserError: the file system has no locks.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + seconds
        while not self._take():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def holder(self) -> str:
        """The process that holds the lock, in words."""
        with contextlib.suppress(OSError):
            if text := self._path.read_text(errors="replace").strip():
                return text
        return "another process"

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._stream is not None:
            self._stream.truncate(0)
            self._stream.close()
            self._stream = None

    def _take(self) -> bool:
        # Opened without truncation, which would erase the name of the holder.
        stream = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.close()
            if error.errno in _NO_LOCKS:
                raise UserError(
                    f"{self._path.parent} lies on a file system without locks ({error.strerror}), so two runs could "
                    "write one artefact at a time; mount it with locks, or set store and runs to other folders"
                ) from None
            if not isinstance(error, BlockingIOError):
                raise
            return False
        if not self._is_current(stream):
            stream.close()
            return False
        self._stream = stream
        self._sign(stream)
        return True

    def _is_current(self, stream: BinaryIO) -> bool:
        """False where the file was removed meanwhile: the next one who comes would lock another file."""
        try:
            return os.path.samestat(os.fstat(stream.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _sign(self, stream: BinaryIO) -> None:
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        stream.truncate(0)
        # A full disk must not stop whoever holds the lock.
        with contextlib.suppress(OSError):
            stream.write((f"{self._by} ({holder})" if self._by else holder).encode() + b"\n")


@contextlib.contextmanager
def exclusive(
    folder: Path,
    role: Role = "writer",
    *,
    by: str = "",
    on_wait: Callable[[str], None] = lambda holder: None,
    timeout_seconds: float | None = None,
) -> Iterator[None]:
    """Hold one of the locks of a folder; waits for as long as another process that is alive holds it.

    Args:
        by: the work for which it is held, for the messages of others.
        on_wait: called with the holder when the wait begins, and every ten minutes.
        timeout_seconds: how long to wait; None = without an end.

    Raises:
        UserError: another process has held it for longer than the timeout, or the file system has no locks.
    """
    lock = FolderLock(folder, role, by=by)
    start = time.monotonic()
    while not lock.take():
        on_wait(lock.holder())
        left = REMIND_SECONDS if timeout_seconds is None else timeout_seconds - (time.monotonic() - start)
        if lock.take(seconds=min(max(left, 0.0), REMIND_SECONDS)):
            break
        if timeout_seconds is not None and time.monotonic() - start >= timeout_seconds:
            raise UserError(
                f"{folder} has been under work by another process for {timeout_seconds:.0f} s, by {lock.holder()}; "
                "stop it, or wait"
            )
    try:
        yield
    finally:
        lock.release()
