"""How the tests of the sources look through one and read it."""

from collections.abc import Callable, Sequence

import pytest

from pipelines.sources import reading
from pipelines.sources.chunks import Chunk
from pipelines.sources.entry import Break, Portion, RawImage
from pipelines.sources.settings import SourceSettings

Look = Callable[[SourceSettings], tuple[list[Portion], list[Break]]]
Read = Callable[..., list[RawImage]]


@pytest.fixture(scope="session")
def look() -> Look:
    """What a scan of every container finds: portions, and broken parts."""

    def looked(settings: SourceSettings) -> tuple[list[Portion], list[Break]]:
        found = [part for one in reading.containers(settings) for part in reading.scan(one, settings)]
        portions = [part for part in found if isinstance(part, Portion)]
        return portions, [part for part in found if isinstance(part, Break)]

    return looked


@pytest.fixture(scope="session")
def read_rows(look: Look) -> Read:
    """Every image of a source, or of some portions of it; as many as the portions say."""

    def rows(
        settings: SourceSettings, portions: Sequence[Portion] | None = None, *, max_bytes: int = 1 << 20
    ) -> list[RawImage]:
        portions = look(settings)[0] if portions is None else portions
        read = [
            list(reading.read(Chunk(index, (portion,)), settings, max_bytes=max_bytes))
            for index, portion in enumerate(portions)
        ]
        assert [len(images) for images in read] == [portion.num_images for portion in portions]
        return [image for images in read for image in images]

    return rows
