"""What every source speaks in: an entry of its listing, a chunk of entries, a raw image."""

import os
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Entry:
    """One image as the listing knows it; names are bytes, since file systems and tars hold names that are not UTF-8."""

    name: bytes
    num_bytes: int
    offset: int = 0  # of its bytes in the container
    changed_ns: int = 0


@dataclass(frozen=True)
class Chunk:
    """One unit of work: entries of one source, read by one task."""

    index: int
    kind: str
    path: str
    names: list[bytes]
    offsets: list[int]
    sizes: list[int]


@dataclass(frozen=True)
class RawImage:
    """One raw image: where it came from, the name its source gives, its bytes (None: unreadable)."""

    source: str
    identity: str | None
    data: bytes | None


def raw_image(container: str, separator: str, name: bytes, data: bytes | None) -> RawImage:
    """Name a raw image: its identity is the folder that it lies in."""
    path = PurePosixPath(printable(name))
    identity = path.parent.name or None
    return RawImage(source=f"{container}{separator}{path}", identity=identity, data=data)


def printable(name: bytes) -> str:
    """A name as text that Arrow and JSON can hold; bytes that are not UTF-8 become escapes."""
    return name.decode("utf-8", "backslashreplace")


def as_bytes(name: str) -> bytes:
    """The bytes behind a name that Python decoded with surrogate escapes."""
    return os.fsencode(name)
