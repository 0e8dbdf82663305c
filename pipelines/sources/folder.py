"""Images as files below a folder."""

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from pipelines.settings import UserError
from pipelines.sources.entry import (
    Break,
    Container,
    Part,
    PassedOver,
    Portion,
    RawImage,
    as_bytes,
    is_full,
    lost,
    printable,
    take,
)
from pipelines.sources.naming import naming
from pipelines.sources.settings import FolderSettings

Entry = tuple[bytes, os.stat_result]  # name below the root


def containers(settings: FolderSettings) -> Iterator[Container]:
    """The folder itself, one container of loose files."""
    if not os.path.isdir(settings.path):
        raise UserError(
            f"source.path={settings.path} is no folder; name one, or choose source=tar, list, recordio or parquet"
        )
    yield Container(settings.path, 0, "")


def scan(container: Container, settings: FolderSettings) -> Iterator[Part]:
    """Walk the folder and cut its files into portions."""
    names: list[bytes] = []
    num_bytes = 0
    for entry in entries(container.path):
        if isinstance(entry, Break | PassedOver):
            yield entry
            continue
        names.append(entry[0])
        num_bytes += entry[1].st_size
        if is_full(len(names), num_bytes, settings):
            yield _portion(container.path, names, num_bytes)
            names, num_bytes = [], 0
    if names:
        yield _portion(container.path, names, num_bytes)


def read(portion: Portion, settings: FolderSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The files of one portion."""
    root, identity_of = as_bytes(portion.container), naming(settings)
    for name in zlib.decompress(portion.listed).split(b"\0"):
        source = f"{portion.container}/{PurePosixPath(printable(name))}"
        identity = identity_of(name)
        try:
            with open(os.path.join(root, name), "rb", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                yield take(stream, size, source=source, identity=identity, max_bytes=max_bytes)
        except OSError:
            # Removed, or made unreadable, since the scan.
            yield lost(source, identity)


def entries(root: str) -> Iterator[Entry | Break | PassedOver]:
    """Every file below a folder, sorted by name within each."""
    # A stack and no recursion: an unpacked archive may be deeper than Python's limit.
    waiting: list[tuple[bytes, os.DirEntry[bytes] | None]] = [(b"", None)]
    while waiting:
        name, child = waiting.pop()
        # A link to a folder may form a cycle, so it is not followed; a link to a file is that file.
        if child is None or child.is_dir(follow_symlinks=False):
            path = os.path.join(as_bytes(root), name)
            try:
                with os.scandir(path) as listing:
                    children = sorted(listing, key=lambda child: child.name, reverse=True)
            except OSError as error:
                yield Break(printable(path), 0, 0, f"the folder cannot be listed ({error.strerror})")
                continue
            waiting += [(os.path.join(name, child.name), child) for child in children]
            continue
        with contextlib.suppress(FileNotFoundError):  # removed since it was listed
            facts = _stat(child)
            if stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode):
                yield name, facts


def _stat(child: os.DirEntry[bytes]) -> os.stat_result:
    """The status of a file, or of a link whose target cannot be reached: it is listed, and will be unreadable."""
    try:
        return child.stat()
    except OSError:
        return child.stat(follow_symlinks=False)


def _portion(container: str, names: list[bytes], num_bytes: int) -> Portion:
    return Portion(container, 0, len(names), len(names), num_bytes, zlib.compress(b"\0".join(names), 1))
