"""Images as members of one tar archive, read by offset and never extracted by path.

The listing reads the headers only and seeks over the bytes, so a large archive is cut into chunks that many
tasks read at once.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.settings import UserError
from pipelines.sources.entry import Chunk, Entry, RawImage, as_bytes, raw_image

SEPARATOR = "!/"


def entries(path: Path) -> Iterator[Entry]:
    """The plain files of the archive, in the order in which they lie there.

    Raises:
        UserError: the file is no uncompressed tar, or it ends in the middle of a member.
    """
    if not path.is_file():
        raise UserError(f"source.path={path} is no file; for a folder of images say source=folder")
    changed_ns, size = path.stat().st_mtime_ns, path.stat().st_size
    try:
        # "r:" refuses compressed archives: their members have no offset to seek to.
        with tarfile.open(path, "r:", errors="surrogateescape") as archive:
            for member in archive:
                if member.isreg():
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError(f"{member.name} ends after the archive does")
                    yield Entry(as_bytes(member.name), member.size, member.offset_data, changed_ns)
    except tarfile.TarError as error:
        raise UserError(
            f"source.path={path} is no whole, uncompressed tar ({error}); unpack or download it again"
        ) from None


def read(chunk: Chunk) -> Iterator[RawImage]:
    """The members of one chunk."""
    with open(chunk.path, "rb") as stream:
        for name, offset, size in zip(chunk.names, chunk.offsets, chunk.sizes, strict=True):
            stream.seek(offset)
            data = stream.read(size)
            yield raw_image(chunk.path, SEPARATOR, name, data if len(data) == size else None)
