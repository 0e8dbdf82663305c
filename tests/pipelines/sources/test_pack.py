"""pipelines/sources/pack: the pictures of a pack written by pickle itself come back in portions, nameless."""

import pickle
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings

IMAGES = [bytes([place]) * (place + 1) for place in range(8)]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps((IMAGES, [True, False, True, False])))
    return path


def source(path: Path, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "pack", "path": str(path), **values})


def test_a_row_is_a_picture_named_by_its_place(pack: Path, read_rows) -> None:
    rows = read_rows(source(pack))
    assert [(row.source, row.identity, row.data) for row in rows] == [
        (f"{pack}!/{place}", None, image) for place, image in enumerate(IMAGES)
    ]


def test_it_is_cut_into_portions(pack: Path, look, read_rows) -> None:
    settings = source(pack, chunk_images=3)
    portions, breaks = look(settings)
    assert [(one.start, one.stop) for one in portions] == [(0, 3), (3, 6), (6, 8)]
    assert not breaks
    assert [row.data for row in read_rows(settings, portions[1:])] == IMAGES[3:]


def test_it_is_counted_before_it_is_read(pack: Path) -> None:
    listing = describe(source(pack))
    assert (listing.num_files, listing.num_bytes) == (8, sum(map(len, IMAGES)))


def test_a_pack_that_is_none_is_a_broken_part(tmp_path: Path, pack: Path, look) -> None:
    (tmp_path / "other.bin").write_bytes(b"no pickle")
    portions, (broken,) = look(source(tmp_path))
    assert sum(one.num_images for one in portions) == len(IMAGES)
    assert (broken.container, broken.num_bytes) == (str(tmp_path / "other.bin"), 9)
    assert "is no pickle of (images, is_same)" in broken.reason


def test_a_pack_that_was_cut_meanwhile_still_gives_as_many_rows(pack: Path, look, read_rows) -> None:
    settings = source(pack)
    portions, _ = look(settings)
    pack.write_bytes(pack.read_bytes()[:-20])
    assert {row.fault for row in read_rows(settings, portions)} == {"unreadable"}


def test_a_path_without_packs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names no file that exists; name a \.bin"):
        describe(source(tmp_path))
