"""Where raw images lie, and how they are read: describe (before the pass), chunks (its units of work), read (one unit).

One chunk is one task's portion and later one Parquet file of records. Chunks are cut from the sorted listing by
bytes and count, never by the number of tasks, so that the records do not depend on the cluster that made them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.settings import Settings, UserError
from pipelines.sources import folder, tar
from pipelines.sources.entry import Chunk, Entry, RawImage

__all__ = ["Chunk", "RawImage", "SourceListing", "SourceSettings", "chunks", "describe", "read"]


class SourceSettings(Settings):
    """Where the raw images lie."""

    kind: Literal["folder", "tar"]
    path: Path
    # One task reads at most this much before it hands its rows on as one file of records.
    chunk_bytes: int = Field(default=64 << 20, ge=1 << 20, le=1 << 31)
    chunk_images: int = Field(default=8192, ge=1, le=1_000_000)


@dataclass(frozen=True)
class SourceListing:
    """What a source holds, known before any picture is read."""

    num_files: int
    num_bytes: int
    digest: str  # changes when an entry comes, goes, or changes size or time


_LISTERS: dict[str, Callable[[Path], Iterator[Entry]]] = {"folder": folder.entries, "tar": tar.entries}


def describe(settings: SourceSettings) -> SourceListing:
    """Count the source's images and bytes.

    Raises:
        UserError: the path does not exist, is of another kind, or holds nothing.
    """
    digest, num_files, num_bytes = hashlib.sha256(), 0, 0
    for entry in _entries(settings):
        digest.update(b"%b\0%d\0%d\0%d\n" % (entry.name, entry.offset, entry.num_bytes, entry.changed_ns))
        num_files += 1
        num_bytes += entry.num_bytes
    if num_files == 0:
        raise UserError(f"source.path={settings.path} holds no file; name a {settings.kind} with images in it")
    return SourceListing(num_files=num_files, num_bytes=num_bytes, digest=digest.hexdigest())


def chunks(settings: SourceSettings) -> Iterator[Chunk]:
    """Cut the source into units of work, in the order of the listing."""
    members: list[Entry] = []
    size = index = 0
    for entry in _entries(settings):
        full = len(members) >= settings.chunk_images or size + entry.num_bytes > settings.chunk_bytes
        if members and full:
            yield _chunk(settings, index, members)
            members, size, index = [], 0, index + 1
        members.append(entry)
        size += entry.num_bytes
    if members:
        yield _chunk(settings, index, members)


def read(chunk: Chunk) -> Iterator[RawImage]:
    """The images of one chunk, in order; one that cannot be read has `data` None and is still a row."""
    return folder.read(chunk) if chunk.kind == "folder" else tar.read(chunk)


def _entries(settings: SourceSettings) -> Iterable[Entry]:
    if not settings.path.exists():
        raise UserError(f"source.path={settings.path} does not exist; give the path of a {settings.kind} of images")
    return _LISTERS[settings.kind](settings.path)


def _chunk(settings: SourceSettings, index: int, members: list[Entry]) -> Chunk:
    return Chunk(
        index=index,
        kind=settings.kind,
        path=str(settings.path),
        names=[member.name for member in members],
        offsets=[member.offset for member in members],
        sizes=[member.num_bytes for member in members],
    )
