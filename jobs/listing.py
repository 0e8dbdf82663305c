"""Data outside the store that stages read: raw images, references, models, evaluation sets, with a digest."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from jobs.settings import RunSettings
from pipelines.settings import UserError
from pipelines.sources import reading
from pipelines.sources.listing import SourceListing
from pipelines.sources.passed_over import merged
from pipelines.sources.settings import SOURCES, SourceSettings
from training.tasks.settings import SetSettings


def describe_source(settings: RunSettings, instance: str = "") -> SourceListing:
    """The raw images, counted without opening one; the digest covers the model that finds faces in them too.

    Raises:
        UserError: there is nothing at source.path, or at faces.model.
    """
    listing = reading.describe(settings.source)
    return replace(listing, digest=source_digest(settings, listing.digest))


def source_digest(settings: RunSettings, listing: str) -> str:
    """The digest of the raw images with the model that finds faces in them, from that of the raw images."""
    model = settings.faces.model
    if model is None:
        return listing
    both = listing + describe_files(model, setting="faces.model").digest
    return hashlib.sha256(both.encode()).hexdigest()


def reference_sources(settings: RunSettings) -> list[SourceSettings]:
    """The pictures that must not be trained on: those of the settings, and those of the sets of the evaluation."""
    return list(named_references(settings).values())


def named_references(settings: RunSettings) -> dict[str, SourceSettings]:
    """The same by the settings that name them, such as `evaluate.sets.lfw`."""
    found = {f"reference.sources[{place}]": source for place, source in enumerate(settings.reference.sources)}
    if settings.reference.with_evaluation:
        sets = settings.evaluate.sets.items()
        found |= {f"evaluate.sets.{name}": _source_of(one) for name, one in sets if one.files}
    return found


def _source_of(one: SetSettings) -> SourceSettings:
    return SOURCES.validate({"kind": one.source_kind, "path": str(one.files)})


def describe_references(settings: RunSettings, instance: str = "") -> SourceListing:
    """The pictures that must not be trained on, counted without opening one.

    Raises:
        UserError: there is nothing at one of the paths.
    """
    listings: list[SourceListing] = []
    for setting, source in named_references(settings).items():
        try:
            listings.append(reading.describe(source))
        except UserError as error:
            raise UserError(f"{setting}: {error}") from None
    return SourceListing(
        num_files=sum(one.num_files for one in listings),
        num_bytes=sum(one.num_bytes for one in listings),
        digest=references_digest(one.digest for one in listings),
        is_exact=all(one.is_exact for one in listings),
        passed_over=merged(one.passed_over for one in listings),
    )


def references_digest(listings: Iterable[str]) -> str:
    """The digest of all references from those of each, in order."""
    return hashlib.sha256("".join(listings).encode()).hexdigest()


def require_listed(settings: RunSettings, stage: str, digest: str, *, where: str) -> None:
    """Compare a source with the one that was listed, under whose fingerprint its records are filed.

    Raises:
        UserError: it has changed.
    """
    if settings.listed.get(stage, digest) != digest:
        raise UserError(
            f"{where} has changed since it was listed; run again when nothing writes there any more: it is then "
            "listed anew"
        )


def describe_embedder(settings: RunSettings, instance: str = "") -> SourceListing | None:
    """The model that embeds; None where it is trained on the way.

    Raises:
        UserError: there is nothing at embed.model.
    """
    path = settings.embed.model
    return None if path is None else describe_files(path, setting="embed.model")


def describe_pairs(settings: RunSettings, set_name: str) -> SourceListing | None:
    """The files of a set of the evaluation; None where it is part of the dataset.

    Raises:
        UserError: there is nothing at its path.
    """
    files = settings.evaluate.sets[set_name].files
    return None if files is None else describe_files(files, setting=f"evaluate.sets.{set_name}.path")


def describe_files(path: Path, *, setting: str) -> SourceListing:
    """A file, or a folder with everything below it; the digest is over relative path, size and mtime of each.

    Args:
        setting: the name of the setting that holds the path, for the error.

    Raises:
        UserError: there is nothing at the path.
    """
    digest, num_files, num_bytes = hashlib.sha256(), 0, 0
    for name, stat in _files(path):
        digest.update(b"%b\0%d\0%d\n" % (os.fsencode(name), stat.st_size, stat.st_mtime_ns))
        num_files += 1
        num_bytes += stat.st_size
    if not num_files:
        raise UserError(f"{setting}={path} does not exist or holds no file; give the path of the data")
    return SourceListing(num_files=num_files, num_bytes=num_bytes, digest=digest.hexdigest())


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Relative path and stat of every file, in an order that does not depend on the file system."""
    if path.is_file():
        yield path.name, path.stat()
    for folder, subfolders, names in os.walk(path):
        subfolders.sort()
        for name in sorted(names):
            file = os.path.join(folder, name)
            yield os.path.relpath(file, path), os.lstat(file)
