"""Images as files below a folder; the identity is the folder that a file lies in."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.settings import UserError
from pipelines.sources.entry import Chunk, Entry, RawImage, as_bytes, raw_image


def entries(root: Path) -> Iterator[Entry]:
    """Every file below the root, in the byte order of its path."""
    if not root.is_dir():
        raise UserError(f"source.path={root} is no folder; for an archive say source=tar")
    yield from _walk(as_bytes(str(root)), b"")


def _walk(root: bytes, below: bytes) -> Iterator[Entry]:
    with os.scandir(os.path.join(root, below) if below else root) as listing:
        children = sorted(listing, key=lambda child: child.name)
    for child in children:
        name = below + child.name
        # A link to a folder may close a circle, so it is not followed; a link to a file is that file.
        if child.is_dir(follow_symlinks=False):
            yield from _walk(root, name + b"/")
        elif child.is_file():
            stat = child.stat()
            yield Entry(name=name, num_bytes=stat.st_size, changed_ns=stat.st_mtime_ns)


def read(chunk: Chunk) -> Iterator[RawImage]:
    """The files of one chunk."""
    root = as_bytes(chunk.path)
    for name in chunk.names:
        yield raw_image(chunk.path, "/", name, _bytes_of(os.path.join(root, name)))


def _bytes_of(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        # Gone or forbidden since the listing: still a row, so that the sum of outcomes is the sum of inputs.
        return None
