"""What lies outside the store and yet decides what a stage makes: raw images, references, models, pairs to judge by."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from jobs.settings import RunSettings
from pipelines.settings import UserError
from pipelines.sources import kinds
from pipelines.sources.listing import SourceListing
from pipelines.sources.settings import SOURCES, SourceSettings


def describe_source(settings: RunSettings) -> SourceListing:
    """The raw images, counted without opening one; the digest covers the model that finds faces in them too.

    Raises:
        UserError: there is nothing at source.path, or at faces.model.
    """
    listing = kinds.describe(settings.source)
    model = settings.faces.model
    if model is None:
        return listing
    both = listing.digest + describe_files(model, setting="faces.model").digest
    return replace(listing, digest=hashlib.sha256(both.encode()).hexdigest())


def reference_sources(settings: RunSettings) -> list[SourceSettings]:
    """Where the pictures lie that must not be trained on: those of the settings, and those of the evaluation."""
    found = list(settings.reference.sources)
    path = settings.evaluate.path
    if path is not None and settings.reference.with_evaluation:
        in_files = "folder" if path.is_dir() else "tar"
        kind = "pack" if settings.evaluate.pairs == "bin" else in_files
        found.append(SOURCES.validate({"kind": kind, "path": str(path)}))
    return found


def describe_references(settings: RunSettings) -> SourceListing:
    """The pictures that must not be trained on, counted without opening one.

    Raises:
        UserError: there is nothing at one of the paths.
    """
    listings = []
    for source in reference_sources(settings):
        try:
            listings.append(kinds.describe(source))
        except UserError as error:
            raise UserError(f"reference (its sources, or evaluate.path): {error}") from None
    return SourceListing(
        num_files=sum(one.num_files for one in listings),
        num_bytes=sum(one.num_bytes for one in listings),
        digest=hashlib.sha256("".join(one.digest for one in listings).encode()).hexdigest(),
        is_exact=all(one.is_exact for one in listings),
    )


def describe_embedder(settings: RunSettings) -> SourceListing | None:
    """The model that embeds; None where it is trained on the way.

    Raises:
        UserError: there is nothing at embed.model.
    """
    path = settings.embed.model
    return None if path is None else describe_files(path, setting="embed.model")


def describe_pairs(settings: RunSettings) -> SourceListing | None:
    """The files of the evaluation's pairs; None where they are drawn from the dataset.

    Raises:
        UserError: there is nothing at evaluate.path.
    """
    path = settings.evaluate.path
    return None if path is None else describe_files(path, setting="evaluate.path")


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
