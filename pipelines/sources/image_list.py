"""Images named one by one in a list: local paths, relative to the list or not, and URIs of object stores."""

import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from pipelines.settings import UserError
from pipelines.sources import storage
from pipelines.sources.entry import PORTION_IMAGES, Break, Container, Portion, RawImage, as_bytes, lost, take
from pipelines.sources.naming import naming, read_list
from pipelines.sources.settings import SourceSettings

_MEASURED = 64  # pictures whose sizes are asked for, to tell those of the others


def containers(settings: SourceSettings) -> Iterator[Container]:
    """The list itself, one container of loose files."""
    path = Path(settings.path)
    if not path.is_file():
        raise UserError(f"source.path={path} is no file; name a list of pictures (.csv, .jsonl, .txt)")
    stat = path.stat()
    yield Container(str(path), stat.st_size, str(stat.st_mtime_ns))


def scan(container: Container, settings: SourceSettings) -> Iterator[Portion | Break]:
    """Cut the list into portions; the files themselves are not asked for one by one."""
    lines = entries(container.path, settings)
    position = 0
    average: int | None = None
    while batch := list(itertools.islice(lines, PORTION_IMAGES)):
        average = _average_bytes(batch) if average is None else average
        listed = zlib.compress(json.dumps(batch).encode(), 1)
        yield Portion(container.path, position, position + len(batch), len(batch), average * len(batch), listed)
        position += len(batch)


def read(portion: Portion, settings: SourceSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The pictures of one portion."""
    by_name = naming(settings) if settings.identity_pattern or settings.identity_list else None
    for path, told in json.loads(zlib.decompress(portion.listed)):
        identity = by_name(as_bytes(path)) if by_name else told
        try:
            with storage.open_binary(path) as stream:
                yield take(stream, storage.size_of(path), source=path, identity=identity, max_bytes=max_bytes)
        except OSError:
            yield lost(path, identity)


def entries(path: str, settings: SourceSettings) -> Iterator[tuple[str, str | None]]:
    """Where each picture lies, and its identity."""
    folder = Path(path).parent
    for name, identity in read_list(Path(path), identity_column=settings.identity_column):
        yield (name if storage.is_remote(name) else str(folder / name)), identity


def _average_bytes(batch: list[tuple[str, str | None]]) -> int:
    sizes = []
    for path, _ in batch[:_MEASURED]:
        try:
            sizes.append(storage.size_of(path))
        except OSError:
            continue
    return sum(sizes) // max(1, len(sizes))
