"""Images as files below a folder."""

import errno
import os
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO

from pipelines.settings import UserError
from pipelines.sources import storage
from pipelines.sources.entry import (
    Break,
    Container,
    Part,
    PassedOver,
    Portion,
    RawImage,
    as_bytes,
    changed,
    is_full,
    lost,
    printable,
    take,
)
from pipelines.sources.naming import naming
from pipelines.sources.settings import FolderSettings
from pipelines.sources.tree import FoundFile, Tree, walk


def containers(settings: FolderSettings) -> Iterator[Container]:
    """The folder itself, one container of loose files."""
    if not os.path.isdir(settings.path):
        raise UserError(
            f"source.path={settings.path} is no folder; name one, or choose source=tar, list, recordio or parquet"
        )
    yield Container(settings.path, 0, "")


def scan(container: Container, settings: FolderSettings) -> Iterator[Part]:
    """Walk the folder and cut its files into portions."""
    files: list[FoundFile] = []
    num_bytes = 0
    for entry in walk(container.path, follows_out=settings.follows_links_out):
        if isinstance(entry, Break | PassedOver):
            yield entry
            continue
        files.append(entry)
        num_bytes += entry.num_bytes
        if is_full(len(files), num_bytes, settings):
            yield _portion(container.path, files, num_bytes)
            files, num_bytes = [], 0
    if files:
        yield _portion(container.path, files, num_bytes)


def read(portion: Portion, settings: FolderSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The files of one portion; one that was written since the scan is not read."""
    root, identity_of = as_bytes(portion.container), naming(settings)
    opened = _opener(root, follows_out=settings.follows_links_out)
    for file in listed_files(portion):
        source = f"{portion.container}/{PurePosixPath(printable(file.name))}"
        identity = identity_of(file.name)
        try:
            with opened(file.name) as stream:
                if not _is_as_listed(stream.fileno(), file):
                    yield changed(source, identity)
                    continue
                image = take(stream, file.num_bytes, source=source, identity=identity, max_bytes=max_bytes)
                yield image if _is_as_listed(stream.fileno(), file) else changed(source, identity)
        except OSError:
            # Removed, or made unreadable, since the scan.
            yield lost(source, identity)


def _opener(root: bytes, *, follows_out: bool) -> Callable[[bytes], BinaryIO]:
    """The function that opens a file by its name below the root; no link leads out unless that is asked for."""
    if follows_out:
        return lambda name: storage.open_local(os.path.join(root, name))
    tree = Tree(os.fsdecode(root), follows_out=False)
    entered = b""  # the folder that was looked at last

    def opened(name: bytes) -> BinaryIO:
        nonlocal entered
        folder = os.path.dirname(name)
        if folder != entered and not tree.may_enter(name):
            raise OSError(errno.EPERM, "it lies outside the source")
        entered = folder
        return storage.open_own(os.path.join(root, name), below=tree.real_root)

    return opened


def listed_files(portion: Portion) -> Iterator[FoundFile]:
    """The files of a portion as the scan found them."""
    content, number = zlib.decompress(portion.listed), portion.num_images
    sizes, times = array("q", content[: 8 * number]), array("q", content[8 * number : 16 * number])
    names = content[16 * number :].split(b"\0")
    return map(FoundFile, names, sizes, times)


def _is_as_listed(descriptor: int, file: FoundFile) -> bool:
    facts = os.fstat(descriptor)
    return (facts.st_size, facts.st_mtime_ns) == (file.num_bytes, file.mtime_ns)


def _portion(container: str, files: Sequence[FoundFile], num_bytes: int) -> Portion:
    sizes, times = array("q", [file.num_bytes for file in files]), array("q", [file.mtime_ns for file in files])
    content = sizes.tobytes() + times.tobytes() + b"\0".join(file.name for file in files)
    return Portion(container, 0, len(files), len(files), num_bytes, zlib.compress(content, 1))
