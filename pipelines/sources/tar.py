"""Images as members of tar archives, read in place and never extracted by path.

A scan of the headers gives the offsets at which a large archive is cut, so that several tasks can read it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from pipelines.sources import storage
from pipelines.sources.entry import (
    INSIDE,
    Break,
    Container,
    Part,
    PassedOver,
    Portion,
    PortionCutter,
    RawImage,
    Readable,
    printable,
    take,
)
from pipelines.sources.locate import Found, find
from pipelines.sources.naming import naming
from pipelines.sources.settings import SourceSettings, TarSettings
from pipelines.sources.tar_headers import Entry, Gap, Member, Other, header_content, walk
from pipelines.sources.tar_links import Links, listed, relinked
from pipelines.sources.tar_numbers import BLOCK
from pipelines.sources.tar_sparse import Expanded

SUFFIXES = (".tar",)

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass
class Sample:
    """Members that belong together and are read by one task."""

    header: int  # offset of the first member's header
    pictures: list[Member] = field(default_factory=list)
    sidecars: dict[str, Member] = field(default_factory=dict)

    @property
    def links(self) -> list[Member]:
        """The members whose bytes are those of another one."""
        return [member for member in (*self.pictures, *self.sidecars.values()) if member.origin >= 0]


# Joins the entries of an archive to samples; what is no member passes through.
Grouping = Callable[[Iterator[Entry]], Iterator[Sample | Other | Gap]]


def containers(settings: SourceSettings) -> Iterator[Found]:
    """The archives that the path names."""
    return find(settings, SUFFIXES)


def scan(container: Container, settings: SourceSettings) -> Iterator[Part]:
    """Cut one archive into portions."""
    return cut(container, settings, _alone)


def read(portion: Portion, settings: TarSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The members of one portion."""
    identity_of = naming(settings)
    for stream, sample in samples(portion, _alone):
        for member in sample.pictures:
            yield picture(portion, stream, member, identity=identity_of(member.name), max_bytes=max_bytes)


def cut(container: Container, settings: SourceSettings, grouping: Grouping) -> Iterator[Part]:
    """Cut an archive into portions, between samples only."""
    try:
        with storage.open_binary(container.path) as stream:
            if reason := _unusable(stream.read(BLOCK)):
                yield Break(container.path, 0, container.num_bytes, reason)
                return
            size = container.num_bytes
            cutter = PortionCutter(container.path, settings)
            links: list[Member] = []
            for sample in grouping(Links(stream, size).followed(walk(stream, 0, size, size))):
                if isinstance(sample, Sample):
                    if cutter.is_full:
                        yield from cutter.cut(sample.header, listed(links))
                        links.clear()
                    links += sample.links
                    for member in sample.pictures:
                        cutter.add(member.num_bytes)
                elif isinstance(sample, Gap):
                    yield Break(container.path, sample.offset, sample.num_bytes, sample.reason)
                else:
                    yield PassedOver(container.path, printable(sample.name), sample.reason)
            yield from cutter.cut(size, listed(links))
    except OSError as error:
        yield Break(container.path, 0, container.num_bytes, f"it cannot be read ({error.strerror or error})")


def samples(portion: Portion, grouping: Grouping) -> Iterator[tuple[BinaryIO, Sample]]:
    """The samples of one portion, each with the open archive."""
    size = storage.size_of(portion.container)
    with storage.open_binary(portion.container) as stream:
        entries = relinked(walk(stream, portion.start, portion.stop, size), stream, size, portion.listed)
        for sample in grouping(entries):
            if isinstance(sample, Sample):  # the scan has reported the gaps
                yield stream, sample


def picture(portion: Portion, stream: BinaryIO, member: Member, *, identity: str | None, max_bytes: int) -> RawImage:
    """Read one member."""
    stream.seek(member.data)
    content: Readable = stream if member.sparse is None else Expanded(stream, member.sparse)
    source = portion.container + INSIDE + printable(member.name)
    return take(content, member.num_bytes, source=source, identity=identity, max_bytes=max_bytes)


def _alone(entries: Iterator[Entry]) -> Iterator[Sample | Other | Gap]:
    """Every member is a picture of its own."""
    for entry in entries:
        if isinstance(entry, Member):
            yield Sample(entry.header, [entry])
        elif isinstance(entry, Other | Gap):
            yield entry


def _unusable(opening: bytes) -> str | None:
    """The reason that a file with this first block cannot be read in place; None if it may be a tar."""
    if not opening:
        return "the file is empty"
    if header_content(opening) is not None:  # a valid header; the name of the member may begin like a mark
        return None
    for mark, name in _COMPRESSED.items():
        if opening.startswith(mark):
            return f"it is compressed with {name} and cannot be read in parts; unpack it to a plain tar"
    return None
