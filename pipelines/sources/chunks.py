"""Chunks, the units of work: few enough for the scheduler, many enough for all cores, the same on every cluster."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.sources.entry import PORTION_IMAGES, Portion
from pipelines.sources.settings import SourceSettings

# A small source is cut into about this many chunks, so that no core waits long for the last one.
_FEWEST_CHUNKS = 32


@dataclass(frozen=True)
class Chunk:
    """One unit of work: neighbouring portions, read by one task."""

    index: int
    portions: tuple[Portion, ...]

    @property
    def num_images(self) -> int:
        return sum(portion.num_images for portion in self.portions)


def plan_chunks(portions: Sequence[Portion], settings: SourceSettings) -> Iterator[Chunk]:
    """Join neighbouring portions into chunks."""
    most = images_per_chunk(sum(portion.num_images for portion in portions), settings)
    gathered: list[Portion] = []
    images = size = index = 0
    for portion in portions:
        is_over = images + portion.num_images > most or size + portion.num_bytes > settings.chunk_bytes
        if gathered and is_over:
            yield Chunk(index, tuple(gathered))
            gathered, images, size, index = [], 0, 0, index + 1
        gathered.append(portion)
        images += portion.num_images
        size += portion.num_bytes
    if gathered:
        yield Chunk(index, tuple(gathered))


def images_per_chunk(num_images: int, settings: SourceSettings) -> int:
    """The largest number of images in a chunk of a source with `num_images`; at least one portion."""
    return min(settings.chunk_images, max(PORTION_IMAGES, num_images // _FEWEST_CHUNKS))


def expected_chunks(num_images: int, num_bytes: int, settings: SourceSettings) -> int:
    """The approximate number of chunks of a source with so many images and bytes."""
    by_count = -(-num_images // images_per_chunk(num_images, settings))
    return max(1, by_count, -(-num_bytes // settings.chunk_bytes))
