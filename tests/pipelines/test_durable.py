"""pipelines/durable: a cut of the power leaves nothing half accepted, and nothing lost that was declared whole.

The cut is simulated twice: by a model of a disk that keeps no more than was synced, at every step of the work, and by
the shutdown that ext4 knows, where this machine lets us mount a file system.
"""

import fcntl
import os
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.durable import write_atomically
from pipelines.manifest import MANIFEST_NAME, MEASURED_NAME, Manifest, clear, describe, remove, verify, write
from pipelines.parquet import write_table
from pipelines.settings import UserError

EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING_THE_LOG = 2

View = dict[str, bytes]  # path -> content


class Disk:
    """The synced contents and names below a folder. What was not synced a cut may keep or forget, each for itself."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[["Disk"], None]) -> None:
        self.root = root
        self.dropped: int | None = None  # the number of a sync below the root that is left out
        self.num_syncs = 0
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {root.stat().st_ino: {}}
        really_sync, really_replace = os.fsync, os.replace

        def fsync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.is_relative_to(root):
                self.num_syncs += 1
                if self.num_syncs - 1 == self.dropped:
                    return
                really_sync(descriptor)
                self._keep(path)
                check(self)

        def replace(source: Path, target: Path) -> None:
            really_replace(source, target)
            check(self)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", replace)

    def _keep(self, path: Path) -> None:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            self._names[about.st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self._contents[about.st_ino] = path.read_bytes()

    def synced(self) -> View:
        """Nothing but what was synced."""
        return dict(self._below(self.root.stat().st_ino, ""))

    def _below(self, folder: int, prefix: str) -> Iterator[tuple[str, bytes]]:
        for name, inode in self._names.get(folder, {}).items():
            if inode in self._names:
                yield from self._below(inode, f"{prefix}{name}/")
            else:
                yield prefix + name, self._contents.get(inode, b"")

    def with_names(self, *wanted: str) -> View:
        """The names of today that end so besides those that were synced, with no more content than was synced."""
        today = {
            path.relative_to(self.root).as_posix(): self._contents.get(path.stat().st_ino, b"")
            for path in self.root.rglob("*")
            if path.is_file() and path.name.endswith(wanted)
        }
        return self.synced() | today

    def views(self) -> list[View]:
        return [self.synced(), self.with_names(""), self.with_names(MANIFEST_NAME)]


FILES = {"a.bin": b"a" * 5000, "rows/b.bin": b"b" * 10, "rows/deep/c.bin": b"c"}


def _make(store: Path) -> None:
    folder = store / "kind" / "mark"
    clear(folder)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "times.txt").write_text("1 s")
    files = tuple(describe(folder, folder / name) for name in FILES)
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}, "measured": ("times.txt",)}
    write(folder, Manifest(kind="kind", fingerprint="mark", files=files, **content))


def _is_whole(view: View) -> bool:
    """No manifest, or a whole one and all that it names."""
    made = {path.removeprefix("store/kind/mark/"): content for path, content in view.items()}
    whole = {**FILES, "times.txt": b"1 s"}
    are_whole = [made.get(name) == content for name, content in whole.items()]
    are_whole += [made.get(name, b"").endswith(b"}\n") for name in (MANIFEST_NAME, MEASURED_NAME)]
    return MANIFEST_NAME not in made or all(are_whole)


class LostError(Exception):
    """The model found a cut after which something is amiss."""


def _check(disk: Disk) -> None:
    if not all(map(_is_whole, disk.views())):
        raise LostError


def _cut_everywhere(root: Path, dropped: int | None) -> int:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(root, patch, _check)
        disk.dropped = dropped
        _make(root / "store")
        if f"store/kind/mark/{MANIFEST_NAME}" not in disk.synced():
            raise LostError
        return disk.num_syncs


def test_no_cut_of_the_power_leaves_a_manifest_without_its_files(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    assert _cut_everywhere(tmp_path / "whole", None) >= len(FILES)


def test_each_sync_is_needed(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    count = _cut_everywhere(tmp_path / "whole", None)
    needless = []
    for number in range(count):
        root = tmp_path / str(number)
        root.mkdir()
        try:
            _cut_everywhere(root, number)
        except LostError:
            continue
        needless.append(number)
    assert not needless, f"of {count} syncs"


def test_a_file_of_rows_has_its_name_only_when_its_content_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(disk: Disk) -> None:
        for path, content in disk.with_names(".parquet").items():
            assert content == (tmp_path / path).read_bytes()

    Disk(tmp_path, monkeypatch, check)
    write_table(pa.table({"name": ["a", "b"]}), tmp_path, "rows/000000")


def test_a_replaced_file_is_the_old_or_the_new_after_a_cut_and_then_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    seen = set()

    def check(disk: Disk) -> None:
        seen.update(view.get("run.json") for view in disk.views())

    disk = Disk(tmp_path, monkeypatch, check)
    write_atomically(path, b"old")
    seen.clear()
    write_atomically(path, b"new")
    assert seen <= {b"old", b"new"}
    assert disk.synced()["run.json"] == b"new"


def test_a_removed_artefact_does_not_come_back_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch, _check)
    _make(tmp_path / "store")
    remove(tmp_path / "store" / "kind" / "mark")
    assert f"store/kind/mark/{MANIFEST_NAME}" not in disk.synced()


@dataclass(frozen=True)
class Ext4:
    """A small file system that writes nothing of its own accord for five minutes."""

    image: Path
    folder: Path

    def mount(self) -> None:
        options = "loop,noauto_da_alloc,commit=300"
        subprocess.run(["mount", "-o", options, self.image, self.folder], capture_output=True, check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.folder], capture_output=True, check=True)

    def cut(self) -> None:
        """Lose the power, and have it again."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        os.close(descriptor)
        self.unmount()
        self.mount()


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Ext4]:
    disk = Ext4(tmp_path / "disk", tmp_path / "mounted")
    disk.folder.mkdir()
    with disk.image.open("wb") as stream:
        stream.truncate(32 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", disk.image], capture_output=True, check=True)
        disk.mount()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine mounts no file system for us")
    yield disk
    disk.unmount()


def _make_rows(store: Path) -> Path:
    """An artefact of a table, as executors write it."""
    folder = store / "pairs" / "mark"
    clear(folder)
    files = tuple(write_table(pa.table({"name": [str(at)] * 5000}), folder, f"rows/{at:06d}") for at in range(3))
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}}
    write(folder, Manifest(kind="pairs", fingerprint="mark", files=files, **content))
    return folder


def test_on_ext4_an_artefact_is_whole_after_the_cut(ext4: Ext4) -> None:
    _make(ext4.folder / "store")
    made = _make_rows(ext4.folder / "store")
    run = ext4.folder / "run.json"
    write_atomically(run, b"done")
    ext4.cut()
    verify(ext4.folder / "store" / "kind" / "mark")
    verify(made)
    assert run.read_bytes() == b"done"


def test_on_ext4_files_that_were_not_synced_are_lost(ext4: Ext4, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would prove nothing."""
    really_sync = os.fsync

    def sync_manifests_alone(descriptor: int) -> None:
        if "manifest" in os.readlink(f"/proc/self/fd/{descriptor}"):
            really_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_manifests_alone)
    _make_rows(ext4.folder / "store")
    descriptor = os.open(ext4.folder, os.O_RDONLY)
    really_sync(descriptor)
    os.close(descriptor)
    ext4.cut()
    with pytest.raises(UserError):
        verify(ext4.folder / "store" / "pairs" / "mark")
