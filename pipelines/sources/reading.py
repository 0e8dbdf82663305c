"""Reading raw images from a source of any kind.

`describe` counts images and bytes before anything is read; `containers` lists the containers, `scan` cuts one of them
into portions, `plan_chunks` joins portions into chunks, `read` reads one chunk. A chunk is the work of one task and
becomes one file of records. Chunks depend on the source alone and never on the number of tasks, so that the records do
not depend on the cluster that made them.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

from pipelines.sources.chunks import Chunk
from pipelines.sources.entry import INSIDE, Container, Part, Portion, RawImage, SourceReader, lost
from pipelines.sources.listing import Scanned, SourceListing, sorted_out
from pipelines.sources.listing import describe as _describe
from pipelines.sources.settings import SOURCES, SourceSettings


def _kind(settings: SourceSettings) -> SourceReader:
    kind: SourceReader = SOURCES.builder(settings)
    return kind


def describe(settings: SourceSettings) -> SourceListing:
    """Count the source's images and bytes without reading one.

    Raises:
        UserError: the path does not exist, is of another kind, or holds nothing.
    """
    return _describe(_kind(settings), settings, partial(read, settings=settings, max_bytes=0))


def listed(settings: SourceSettings) -> Scanned:
    """The containers of a source in a fixed order, and what lies beside them.

    Raises:
        UserError: there is nothing at source.path.
    """
    return sorted_out(_kind(settings).containers(settings))


def containers(settings: SourceSettings) -> Iterator[Container]:
    """The containers of a source, in a fixed order.

    Raises:
        UserError: there is nothing at source.path.
    """
    return iter(listed(settings).containers)


def scan(container: Container, settings: SourceSettings) -> Iterator[Part]:
    """Scan one container: portions of images, parts in which none can be found, and what is passed over."""
    return _kind(settings).scan(container, settings)


def read(chunk: Chunk, settings: SourceSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The images of one chunk, in order; one that cannot be read, or is above `max_bytes`, has a fault and no bytes."""
    for portion in chunk.portions:
        images = _kind(settings).read(portion, settings, max_bytes=max_bytes)
        yield from _as_many_as_listed(portion, images)


def _as_many_as_listed(portion: Portion, images: Iterator[RawImage]) -> Iterator[RawImage]:
    """The images of a portion, and one with a fault for every image that is missing since the scan."""
    done = 0
    # Removed, cut or damaged since the scan.
    with contextlib.suppress(OSError):
        for image in images:
            yield image
            done += 1
    for place in range(done, portion.num_images):
        yield lost(f"{portion.container}{INSIDE}{portion.start}+{place}", None)
