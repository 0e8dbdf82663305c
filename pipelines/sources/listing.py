"""The listing of a source before it is read: numbers of images and bytes, and a digest that changes with the source."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.settings import UserError
from pipelines.sources import folder
from pipelines.sources.entry import Break, Container, PassedOver, SourceReader
from pipelines.sources.passed_over import PassedOverTally
from pipelines.sources.settings import NamedSettings, SourceSettings

# Archives are scanned up to this many images; the rest is estimated from the share of bytes scanned.
_COUNTED_IMAGES = 50_000


@dataclass(frozen=True)
class SourceListing:
    """The contents of a source, counted or estimated without reading the images."""

    num_files: int  # files, members, records or rows that may be images
    num_bytes: int
    digest: str  # changes when something comes, goes, or changes size or time
    is_exact: bool = True  # False: estimated from a part of the source
    passed_over: PassedOverTally = field(default_factory=PassedOverTally)  # of the part that was scanned


def describe(kind: SourceReader, settings: SourceSettings) -> SourceListing:
    """Count a source's images and bytes.

    Raises:
        UserError: the path does not exist, is of another kind, or holds nothing.
    """
    found = list(kind.containers(settings))
    has_files = settings.holds_loose_files
    listing = _describe_folder(found[0]) if has_files else _describe_containers(kind, found, settings)
    if isinstance(settings, NamedSettings) and settings.identity_list is not None:
        listing = replace(listing, digest=_with_names(listing.digest, settings.identity_list))
    if listing.num_files == 0:
        parts = (part for one in found for part in kind.scan(one, settings))
        why = next((str(part) for part in parts if isinstance(part, Break)), listing.passed_over.note())
        reason = f": {why}" if why else ""
        raise UserError(f"source.path={settings.path} holds no image{reason}; name a {settings.kind} with images in it")
    return listing


def _with_names(digest: str, path: Path) -> str:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(
            f"source.identity_list={path} cannot be read ({error.strerror}); name a list of pictures"
        ) from None
    return hashlib.sha256(f"{digest}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()


def _describe_folder(container: Container) -> SourceListing:
    digest, num_files, num_bytes, passed_over = hashlib.sha256(), 0, 0, PassedOverTally()
    for entry in folder.entries(container.path):
        if isinstance(entry, Break | PassedOver):
            digest.update(str(entry).encode())
        if isinstance(entry, PassedOver):
            passed_over.add(entry)
        if isinstance(entry, Break | PassedOver):
            continue
        name, stat = entry
        digest.update(b"%b\0%d\0%d\n" % (name, stat.st_size, stat.st_mtime_ns))
        num_files += 1
        num_bytes += stat.st_size
    return SourceListing(num_files, num_bytes, digest.hexdigest(), passed_over=passed_over)


def _describe_containers(kind: SourceReader, found: Sequence[Container], settings: SourceSettings) -> SourceListing:
    digest = hashlib.sha256()
    for container in found:
        digest.update(f"{container.path}\0{container.num_bytes}\0{container.version}\n".encode("utf-8", "replace"))
    passed_over = PassedOverTally()
    images, size, share = _count(kind, found, settings, passed_over)
    return SourceListing(
        round(images / share), round(size / share), digest.hexdigest(), is_exact=share == 1, passed_over=passed_over
    )


def _count(
    kind: SourceReader, found: Sequence[Container], settings: SourceSettings, passed_over: PassedOverTally
) -> tuple[int, int, float]:
    """Images and bytes of the first containers, and the share of the source that these are."""
    images = size = passed = 0
    total = sum(container.num_bytes for container in found)
    for container in found:
        for part in kind.scan(container, settings):
            if isinstance(part, PassedOver):
                passed_over.add(part)
            if isinstance(part, Break | PassedOver):
                continue
            images += part.num_images
            size += part.num_bytes
            if images >= _COUNTED_IMAGES and settings.counts_in_bytes and passed + part.stop < total:
                return images, size, (passed + part.stop) / total
        passed += container.num_bytes
        if images >= _COUNTED_IMAGES and passed < total:
            return images, size, passed / total
    return images, size, 1.0
