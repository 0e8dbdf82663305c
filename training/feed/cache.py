"""A cache of row groups of a remote dataset on a local disk: limited in bytes, the least recently used make room.

A file's name says which row group of which shard it holds, by the digest of the shard, so datasets and runs may share a
folder. It begins with a digest of its name and its content. One writer at a time holds the folder's lock, whatever its
process; readers take none, since files come and go whole.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipelines.columns import STANDARD
from pipelines.settings import UserError
from training.feed.retry import first_line
from training.feed.shards import Piece, Source

SUFFIX = ".rowgroup"
DIGEST_BYTES = 32
# Once the folder is full, room is made for more than one row group, since that takes a look at every file.
SHARE_AFTER_CLEARING = 0.95

_log = logging.getLogger(__name__)


class CachedRowGroups:
    """A row-group source that reads from the folder, and stores there what it did not find."""

    def __init__(self, source: Source, folder: Path, *, max_bytes: int, extra_columns: Sequence[str] = ()) -> None:
        """Make the folder.

        Args:
            extra_columns: that the source gives beside the standard ones; such row groups are cached apart.

        Raises:
            UserError: that is not possible.
        """
        self._source = source
        self._folder = folder
        self._suffix = "".join(f"-{name}" for name in extra_columns) + SUFFIX
        self._max_bytes = max_bytes
        self._is_writing = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"feed.cache_dir={folder} cannot be made ({first_line(error)}); name a folder that can, or null"
            ) from None

    def __call__(self, piece: Piece) -> pa.Table:
        path = self._folder / f"{piece.shard.sha256}-{piece.row_group}{self._suffix}"
        table = _load(path)
        if table is None:
            table = self._source(piece)
            if self._is_writing:
                self._store(path, table)
        return table

    def _store(self, path: Path, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue()
        num_bytes = DIGEST_BYTES + content.size
        if num_bytes > self._max_bytes:
            return
        try:
            with self._lock():
                total = self._make_room(num_bytes)
                staged = self._folder / ".staged"
                with staged.open("wb") as stream:
                    stream.write(_digest(path, content))
                    stream.write(content)
                # Before the file is there: a process that dies in between leaves a total that is too high, which the
                # next clearing puts right.
                self._total_file.write_text(str(total + num_bytes))
                staged.replace(path)
        except OSError as error:
            self._is_writing = False
            with contextlib.suppress(OSError):
                (self._folder / ".staged").unlink()
            _log.warning("feed.cache_dir=%s takes no more (%s); going on without", self._folder, first_line(error))

    def _make_room(self, num_bytes: int) -> int:
        """Remove the least recently used files until so many bytes have room; returns the bytes that stay."""
        try:
            total = int(self._total_file.read_text())
        except (FileNotFoundError, ValueError):
            total = self._max_bytes
        if total + num_bytes <= self._max_bytes:
            return total
        files = sorted((stat.st_mtime_ns, stat.st_size, path) for path, stat in self._files())
        total = sum(size for _, size, _ in files)
        if total + num_bytes <= self._max_bytes:
            return total
        for _, size, path in files:
            if total + num_bytes <= self._max_bytes * SHARE_AFTER_CLEARING:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # a damaged one goes without the lock
                yield path, path.stat()

    @property
    def _total_file(self) -> Path:
        return self._folder / ".total"

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _load(path: Path) -> pa.Table | None:
    """The table of a file, which is marked as used; None where there is no file, or a damaged one, which is removed."""
    try:
        content = path.read_bytes()
        if _digest(path, memoryview(content)[DIGEST_BYTES:]) == content[:DIGEST_BYTES]:
            os.utime(path)
            return pa.ipc.open_stream(pa.py_buffer(content)[DIGEST_BYTES:]).read_all()
        _log.warning("%s is damaged; reading its row group again", path)
        path.unlink()
    except OSError:
        pass  # not there, or just gone
    return None


def _digest(path: Path, content: object) -> bytes:
    digest = hashlib.sha256(f"{path.name} {STANDARD} ".encode())
    digest.update(content)  # type: ignore[arg-type]
    return digest.digest()
