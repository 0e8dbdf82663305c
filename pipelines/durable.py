"""Files that outlast a loss of power: contents first, then the folders that name them, then what declares them whole.

A file system may put a name on the disk before the content that it names, and forget a name whose content is there.
Only fsync(2) sets the order: of a file for its content, of a folder for the names in it.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(folder: Path) -> None:
    """Wait until a folder can be found after a loss of power: the names in it, and its own in those above it."""
    folder = folder.resolve()
    sync(folder)
    for above, below in zip(folder.parents, (folder, *folder.parents), strict=False):
        if above.stat().st_dev != below.stat().st_dev:
            return
        # A folder that we may not read existed before us.
        with contextlib.suppress(PermissionError):
            sync(above)


def sync_files(folder: Path, files: Iterable[Path]) -> None:
    """Wait until files below a folder are on the disk, and all names that lead to them.

    Whoever wrote them, this process or another one of the machine; a file system of several machines hands on what a
    process wrote when it closes the file.
    """
    folders: set[Path] = set()
    for path in files:
        sync(path)
        folders.update(above for above in path.parents if above.is_relative_to(folder))
    for inner in sorted(folders - {folder}, reverse=True):
        sync(inner)
    sync_names(folder)


def write_atomically(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Replace a file so that a reader sees the old content or the new, never a part; so does who comes after a loss of
    power, and once this returns it is the new.

    Args:
        mode: rights of the file, from its first byte on; None = as any new file's.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with staged.open("wb") as stream:
        if mode is not None:
            os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(path)
    sync(path.parent)
