"""How the tests of the sources look through one and read it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

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


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """A context without the rights of root, which may list a folder of any mode; it may reach the test's own."""
    nobody = 65534

    @contextmanager
    def without_rights() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
        os.seteuid(nobody)
        try:
            yield
        finally:
            os.seteuid(0)

    return without_rights
