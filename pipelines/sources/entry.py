"""The types that all kinds of source share: a container, its portions, what it has besides them, a raw image."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pipelines.decode_faults import TOO_MANY_BYTES
from pipelines.sources.settings import SourceSettings

# Faults of an image that is listed and not taken: it cannot be read, or it has been written since it was listed.
UNREADABLE, CHANGED = "unreadable", "changed"
INSIDE = "!/"  # between the name of a container and that of its member

# The largest portion of neighbouring images; chunks consist of portions.
PORTION_IMAGES = 512
PORTION_BYTES = 16 << 20

_PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class Container:
    """A unit of scanning: an archive, or a whole folder of loose files."""

    path: str
    num_bytes: int
    version: str  # changes with the content: modification time, or the ETag of an object store


@dataclass(frozen=True)
class Portion:
    """Neighbouring images of one container, read by one task."""

    container: str
    start: int  # position of the first image, in the unit of the container: byte, row group
    stop: int  # position of the next portion
    num_images: int
    num_bytes: int  # of the images
    listed: bytes = b""  # compressed: of loose files their names, of an archive what lies outside the portion
    joined: bytes = b""  # compressed: members outside the portion that belong to its samples


@dataclass(frozen=True)
class Break:
    """A part of a container in which no image can be found."""

    container: str
    offset: int  # in bytes
    num_bytes: int
    reason: str

    def __str__(self) -> str:
        where = f" is broken from byte {self.offset:,} for {self.num_bytes:,} bytes" if self.num_bytes else ""
        return f"{self.container}{where}: {self.reason}"


@dataclass(frozen=True)
class PassedOver:
    """Something that a source holds and that is not taken in: it is no row, and is counted by its reason."""

    container: str  # the archive or list that has it; for a loose file its own path
    name: str  # its name in the container, as text; "" for a loose file
    reason: str  # the plural of what it is, in snake_case: links_out_of_the_source; few different ones

    @property
    def where(self) -> str:
        """The path by which a user finds it."""
        return f"{self.container}{INSIDE}{self.name}" if self.name else self.container


# What a scan finds.
Part = Portion | Break | PassedOver


@dataclass(frozen=True)
class RawImage:
    """One raw image: its source, the identity that the source gives, its bytes."""

    source: str
    identity: str | None
    image_id: str  # sha256 of the bytes, hex
    data: bytes  # empty if there is a fault
    num_bytes: int
    fault: str | None = None  # the reason for missing bytes


class Readable(Protocol):
    """The part of a stream's interface that reading an image needs."""

    def read(self, num_bytes: int, /) -> bytes:
        """The next bytes; fewer only at the end."""


class SourceReader(Protocol):
    """The interface of a kind of source; each is a module with these functions."""

    def containers(self, settings: SourceSettings) -> "Iterator[Container] | Iterator[Container | Break | PassedOver]":
        """The containers of a source in a fixed order, and what lies beside them; cheap, on the driver."""

    def scan(self, container: Container, settings: SourceSettings) -> Iterator[Part]:
        """Scan one container without reading a picture, on any machine."""

    def read(self, portion: Portion, settings: SourceSettings, *, max_bytes: int) -> Iterator[RawImage]:
        """The images of one portion in order, `portion.num_images` of them.

        Raises:
            OSError: the container has changed since the scan; readable images were yielded before.
        """


def take(stream: Readable, num_bytes: int, *, source: str, identity: str | None, max_bytes: int) -> RawImage:
    """Read one image at the stream's position; one above `max_bytes` is digested in pieces and never held in memory."""
    if num_bytes > max_bytes:
        return _digest_only(stream, num_bytes, source, identity)
    try:
        data = stream.read(num_bytes)
    except OSError:
        data = b""
    if len(data) != num_bytes:
        return lost(source, identity)
    return held(data, source=source, identity=identity, max_bytes=max_bytes)


def held(data: bytes, *, source: str, identity: str | None, max_bytes: int) -> RawImage:
    """An image whose bytes were read."""
    image_id = hashlib.sha256(data).hexdigest()
    if len(data) > max_bytes:
        return RawImage(source, identity, image_id, b"", len(data), TOO_MANY_BYTES)
    return RawImage(source, identity, image_id, data, len(data))


def lost(source: str, identity: str | None) -> RawImage:
    """An image that is listed and cannot be read: it becomes a row, so that every input has an outcome."""
    return RawImage(source, identity, hashlib.sha256().hexdigest(), b"", 0, UNREADABLE)


def changed(source: str, identity: str | None) -> RawImage:
    """An image that is another one than was listed, under whose fingerprint it would be filed."""
    return RawImage(source, identity, hashlib.sha256().hexdigest(), b"", 0, CHANGED)


def _digest_only(stream: Readable, num_bytes: int, source: str, identity: str | None) -> RawImage:
    digest, missing = hashlib.sha256(), num_bytes
    try:
        while missing and (piece := stream.read(min(_PIECE_BYTES, missing))):
            digest.update(piece)
            missing -= len(piece)
    except OSError:
        return lost(source, identity)
    if missing:
        return lost(source, identity)
    return RawImage(source, identity, digest.hexdigest(), b"", num_bytes, TOO_MANY_BYTES)


def is_full(num_images: int, num_bytes: int, settings: SourceSettings) -> bool:
    """True where so many neighbouring images fill a portion, which is never larger than a chunk."""
    most_images, most_bytes = min(PORTION_IMAGES, settings.chunk_images), min(PORTION_BYTES, settings.chunk_bytes)
    return num_images >= most_images or num_bytes >= most_bytes


class PortionCutter:
    """Collects the images of a container into portions of bounded size."""

    def __init__(self, container: str, settings: SourceSettings) -> None:
        self._container = container
        self._settings = settings
        self._start = self._images = self._bytes = 0

    @property
    def is_full(self) -> bool:
        return is_full(self._images, self._bytes, self._settings)

    def add(self, num_bytes: int) -> None:
        self._images += 1
        self._bytes += num_bytes

    def cut(self, stop: int, listed: bytes = b"") -> Iterator[Portion]:
        """Yield the portion that ends at a position; nothing if it has no image."""
        if self._images:
            yield Portion(self._container, self._start, stop, self._images, self._bytes, listed)
        self._start, self._images, self._bytes = stop, 0, 0


def printable(name: bytes) -> str:
    """A name as text for Arrow and JSON; bytes that are not UTF-8 become escapes."""
    return name.decode("utf-8", "backslashreplace")


def text(name: str) -> str:
    """Text for Arrow, from text in which bytes that are not UTF-8 became surrogates."""
    try:
        return printable(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half a surrogate pair, which JSON allows
        return printable(name.encode("utf-8", "backslashreplace"))


def as_bytes(name: str) -> bytes:
    """The original bytes of a name that Python decoded with surrogate escapes."""
    return os.fsencode(name)
