"""Images from a list of local paths, absolute or relative to the list, and URIs of object stores."""

import contextlib
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipelines.settings import UserError
from pipelines.sources import storage
from pipelines.sources.entry import (
    PORTION_IMAGES,
    Container,
    Part,
    PassedOver,
    Portion,
    RawImage,
    as_bytes,
    lost,
    take,
    text,
)
from pipelines.sources.lists.read import Entry, read_list
from pipelines.sources.names import spellings
from pipelines.sources.naming import naming
from pipelines.sources.settings import ListSettings

_MEASURED = 64  # pictures whose sizes are read, to estimate those of the others


def containers(settings: ListSettings) -> Iterator[Container]:
    """The list itself, one container of loose files."""
    path = Path(settings.path)
    if not path.is_file():
        raise UserError(f"source.path={path} is no file; name a list of pictures (.csv, .jsonl, .txt)")
    stat = path.stat()
    yield Container(str(path), stat.st_size, str(stat.st_mtime_ns))


def scan(container: Container, settings: ListSettings) -> Iterator[Part]:
    """Cut the list into portions, without a request for each file; name the lines that do not parse."""
    most = min(PORTION_IMAGES, settings.chunk_images)
    batch: list[Entry] = []
    position = 0
    average: int | None = None
    entries = read_list(Path(container.path), identity_column=settings.identity_column)
    for entry in itertools.chain(entries, [None]):
        if isinstance(entry, PassedOver):
            yield entry
            continue
        if entry is not None:
            batch.append(entry)
        if batch and (entry is None or len(batch) == most):
            average = _average_bytes(container, batch) if average is None else average
            listed = zlib.compress(json.dumps(batch).encode(), 1)
            yield Portion(container.path, position, position + len(batch), len(batch), average * len(batch), listed)
            position, batch = position + len(batch), []


def read(portion: Portion, settings: ListSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The pictures of one portion."""
    by_name = naming(settings) if settings.identity_pattern or settings.identity_list else None
    for name, listed in json.loads(zlib.decompress(portion.listed)):
        identity = by_name(as_bytes(name)) if by_name else listed
        path = _path(portion.container, name)
        try:
            path, stream = _open(portion.container, name)
            with stream:
                yield take(stream, storage.size_of(path), source=text(path), identity=identity, max_bytes=max_bytes)
        # The file systems of fsspec raise errors of many classes, such as BadZipFile.
        except Exception:
            yield lost(text(path), identity)


def _path(container: str, name: str) -> str:
    """The path of a picture, from its name in a list."""
    return name if storage.is_remote(name) else str(Path(container).parent / name)


def _open(container: str, name: str) -> tuple[str, BinaryIO]:
    """The path of a picture and its file, by the first spelling of its name that exists.

    Raises:
        OSError: there is none, or it cannot be opened.
    """
    first = _path(container, name)
    try:
        return first, storage.open_binary(first)
    except FileNotFoundError:
        for spelling in itertools.islice(() if storage.is_remote(name) else spellings(name), 1, None):
            path = _path(container, spelling)
            with contextlib.suppress(FileNotFoundError):
                return path, storage.open_binary(path)
        raise


def _average_bytes(container: Container, batch: list[Entry]) -> int:
    sizes = []
    for entry in batch[:_MEASURED]:
        try:
            sizes.append(storage.size_of(_path(container.path, entry.name)))
        except OSError:
            continue
    return sum(sizes) // max(1, len(sizes))
