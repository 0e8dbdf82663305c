"""Locks between real processes."""

import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from pipelines import locks
from pipelines.locks import FolderLock, exclusive
from pipelines.settings import UserError


def _hold(folder: Path, held: Path) -> None:
    with exclusive(folder, by="run loaf"):
        held.touch()
        time.sleep(60)


def start_holder(folder: Path) -> BaseProcess:
    held = folder.with_name("held")
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(folder, held))
    holder.start()
    while not held.exists():
        time.sleep(0.02)
    return holder


def end(holder: BaseProcess) -> None:
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    holder = start_holder(tmp_path / "artefact")
    waited: list[str] = []
    name = f"run loaf (process {holder.pid} on {socket.gethostname()})"
    with (
        pytest.raises(UserError, match="under work by another process for 0 s, by run loaf"),
        exclusive(tmp_path / "artefact", on_wait=waited.append, timeout_seconds=0.3),
    ):
        pass
    assert waited == [name]
    end(holder)
    with exclusive(tmp_path / "artefact", timeout_seconds=5):
        pass


def test_who_waits_is_reminded_of_the_holder_for_as_long_as_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "REMIND_SECONDS", 0.3)
    holder = start_holder(tmp_path / "artefact")
    waited: list[str] = []

    def on_wait(who: str) -> None:
        waited.append(who)
        if len(waited) == 3:
            end(holder)

    with exclusive(tmp_path / "artefact", on_wait=on_wait):
        assert len(waited) >= 3


def test_the_two_roles_are_two_locks(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a", "driver"), exclusive(tmp_path / "a", timeout_seconds=0.0):
        assert not FolderLock(tmp_path / "a", "driver").take()
        assert not FolderLock(tmp_path / "a").take()
        assert FolderLock(tmp_path / "b").take()


def test_who_asks_in_vain_leaves_the_name_of_the_holder(tmp_path: Path) -> None:
    mine, other = FolderLock(tmp_path / "a", by="run mine"), FolderLock(tmp_path / "a", by="run other")
    assert mine.take()
    assert not other.take()
    assert other.holder().startswith("run mine (process ")
    mine.release()
    assert other.take()
    assert mine.holder().startswith("run other (process ")


def test_a_lock_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "a"), FolderLock(tmp_path / "a")
    assert first.take()
    (tmp_path / ".a.lock").unlink()
    assert second.take(), "nobody holds the file that is there now"
    assert not FolderLock(tmp_path / "a").take()


def test_a_lock_file_that_is_removed_between_opening_and_locking_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, removed = locks.fcntl.flock, []

    def remove_first(stream: object, operation: int) -> None:
        if not removed:
            removed.append(True)
            (tmp_path / ".a.lock").unlink()
        flock(stream, operation)

    monkeypatch.setattr(locks.fcntl, "flock", remove_first)
    lock = FolderLock(tmp_path / "a")
    assert not lock.take()
    assert lock.take(seconds=1.0)
    assert not FolderLock(tmp_path / "a").take()


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stream: object, operation: int) -> None:
        raise OSError(locks.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"without locks \(No locks available\).*mount it with locks"):
        FolderLock(tmp_path / "a").take()
