"""The listing of a source before it is read: numbers of images and bytes, and a digest that changes with the source.

By default the digest is over names, sizes and times of modification, which costs a look at every file. With
source.verify=content it is over the content of every image: the source is read once more for it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.settings import UserError
from pipelines.sources import folder
from pipelines.sources.chunks import Chunk, plan_chunks
from pipelines.sources.entry import Break, Container, Part, PassedOver, Portion, RawImage, SourceReader
from pipelines.sources.passed_over import PassedOverTally
from pipelines.sources.settings import NamedSettings, SourceSettings

# Archives are scanned up to this many images; the rest is estimated from the share of bytes scanned.
_COUNTED_IMAGES = 50_000
# Chunks that are read at once for the digest of a content; hashing leaves Python's lock alone.
_MOST_THREADS = 8

Read = Callable[[Chunk], Iterable[RawImage]]
# The columns of records that a source alone decides: source, identity, image_id, num_bytes.
Row = tuple[str, str | None, str, int]


@dataclass(frozen=True)
class SourceListing:
    """The contents of a source, counted or estimated without reading the images."""

    num_files: int  # files, members, records or rows that may be images
    num_bytes: int
    digest: str  # changes when something comes, goes, or changes size or time
    is_exact: bool = True  # False: estimated from a part of the source
    passed_over: PassedOverTally = field(default_factory=PassedOverTally)  # of the part that was scanned


@dataclass(frozen=True)
class Scanned:
    """The parts of a source, or of some containers of it, sorted by what they are."""

    containers: list[Container] = field(default_factory=list)
    portions: list[Portion] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    passed_over: PassedOverTally = field(default_factory=PassedOverTally)

    def add(self, part: Container | Part) -> None:
        if isinstance(part, PassedOver):
            self.passed_over.add(part)
        elif isinstance(part, Break):
            self.breaks.append(part)
        elif isinstance(part, Portion):
            self.portions.append(part)
        else:
            self.containers.append(part)


def sorted_out(parts: Iterable[Container | Part]) -> Scanned:
    """The parts by kind; of what is passed over the account alone."""
    found = Scanned()
    for part in parts:
        found.add(part)
    return found


def joined(parts: Iterable[Scanned]) -> Scanned:
    """Several of them as one new one, in their order."""
    whole = Scanned()
    for part in parts:
        whole.containers.extend(part.containers)
        whole.portions.extend(part.portions)
        whole.breaks.extend(part.breaks)
        whole.passed_over.merge(part.passed_over)
    return whole


def describe(kind: SourceReader, settings: SourceSettings, read: Read) -> SourceListing:
    """Count a source's images and bytes.

    Raises:
        UserError: the path does not exist, is of another kind, or holds nothing.
    """
    beside = sorted_out(kind.containers(settings))
    if settings.holds_loose_files or settings.verify == "content":
        found = joined([beside, _scanned(kind, beside.containers, settings)])
        images, size, share = _num_images(found.portions), sum(portion.num_bytes for portion in found.portions), 1.0
    else:
        found = joined([beside])  # an account of its own, which grows by that of the part that is counted
        images, size, share = _count(kind, found, settings)
    if images == 0:
        whole = joined([beside, _scanned(kind, beside.containers, settings)])
        why = next(map(str, whole.breaks), whole.passed_over.note())
        reason = f": {why}" if why else ""
        raise UserError(f"source.path={settings.path} holds no image{reason}; name a {settings.kind} with images in it")
    digest = listing_digest(beside, found, settings)
    if settings.verify == "content":
        digest = content_digest(_read_through(found.portions, settings, read))
    return SourceListing(round(images / share), round(size / share), digest, share == 1, found.passed_over)


def listing_digest(beside: Scanned, found: Scanned, settings: SourceSettings) -> str:
    """The digest of names, sizes and times of what is taken in.

    Args:
        beside: the containers and what lies beside them.
        found: the same with the parts of every container, which matter for loose files alone: an archive has a time of
            its own.
    """
    digest = hashlib.sha256()
    account = found if settings.holds_loose_files else beside
    for portion in account.portions:
        for file in folder.listed_files(portion):
            digest.update(b"%b\0%d\0%d\n" % file)
    for container in () if settings.holds_loose_files else account.containers:
        digest.update(f"{container.path}\0{container.num_bytes}\0{container.version}\n".encode("utf-8", "replace"))
    for part in account.breaks:
        digest.update(str(part).encode("utf-8", "replace"))
    if isinstance(settings, NamedSettings) and settings.identity_list is not None:
        digest.update(_names(settings.identity_list))
    return digest.hexdigest()


def content_digest(chunks: Iterable[str]) -> str:
    """The digest of a source's content from those of its chunks, in order."""
    return hashlib.sha256("".join(chunks).encode()).hexdigest()


def rows_digest(rows: Iterable[Row]) -> str:
    """The digest of what the source alone decides of one chunk's records, in order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _read_through(portions: Sequence[Portion], settings: SourceSettings, read: Read) -> Iterator[str]:
    def digest(chunk: Chunk) -> str:
        return rows_digest((raw.source, raw.identity, raw.image_id, raw.num_bytes) for raw in read(chunk))

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(digest, plan_chunks(portions, settings))


def _names(path: Path) -> bytes:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(
            f"source.identity_list={path} cannot be read ({error.strerror}); name a list of pictures"
        ) from None
    if not path.is_file():
        raise UserError(f"source.identity_list={path} is no file; name a list of pictures")
    return f"\0{stat.st_size}\0{stat.st_mtime_ns}".encode()


def _scanned(kind: SourceReader, containers: Iterable[Container], settings: SourceSettings) -> Scanned:
    return sorted_out(part for container in containers for part in kind.scan(container, settings))


def _num_images(portions: Iterable[Portion]) -> int:
    return sum(portion.num_images for portion in portions)


def _count(kind: SourceReader, found: Scanned, settings: SourceSettings) -> tuple[int, int, float]:
    """Images and bytes of the first containers, and the share of the source that these are."""
    images = size = passed = 0
    total = sum(container.num_bytes for container in found.containers)
    for container in found.containers:
        for part in kind.scan(container, settings):
            if isinstance(part, PassedOver):
                found.passed_over.add(part)
            if not isinstance(part, Portion):
                continue
            images += part.num_images
            size += part.num_bytes
            if images >= _COUNTED_IMAGES and settings.counts_in_bytes and passed + part.stop < total:
                return images, size, (passed + part.stop) / total
        passed += container.num_bytes
        if images >= _COUNTED_IMAGES and passed < total:
            return images, size, passed / total
    return images, size, 1.0
