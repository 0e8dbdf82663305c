"""pipelines/sources/entry: an image is held whole, digested without being held, or named as lost."""

import hashlib
import io
import os
import tracemalloc

import pytest

from pipelines.sources.entry import (
    Break,
    Portion,
    PortionCutter,
    RawImage,
    as_bytes,
    held,
    is_full,
    lost,
    printable,
    take,
    text,
)
from pipelines.sources.settings import SOURCES, TarSettings


class Endless:
    """A stream that makes its bytes as they are read: so many, and then an end or an error."""

    def __init__(self, num_bytes: int, error: OSError | None = None) -> None:
        self.left, self.error = num_bytes, error

    def read(self, num_bytes: int, /) -> bytes:
        if self.error and not self.left:
            raise self.error
        piece = bytes(min(num_bytes, self.left))
        self.left -= len(piece)
        return piece


def taken(stream: Endless | io.BytesIO, num_bytes: int, max_bytes: int = 100) -> RawImage:
    return take(stream, num_bytes, source="here", identity="ann", max_bytes=max_bytes)


def test_an_image_is_held_with_its_digest() -> None:
    expected = RawImage("here", "ann", hashlib.sha256(b"picture").hexdigest(), b"picture", 7)
    assert taken(io.BytesIO(b"picture and more"), 7) == expected
    assert held(b"picture", source="here", identity="ann", max_bytes=7) == expected


@pytest.mark.parametrize("over", [1, 200 << 20])
def test_an_image_above_the_limit_is_digested_and_never_held(over: int) -> None:
    max_bytes = 30 << 20
    tracemalloc.start()
    image = taken(Endless(max_bytes + over), max_bytes + over, max_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    digest = hashlib.sha256()
    for start in range(0, max_bytes + over, 1 << 20):
        digest.update(bytes(min(1 << 20, max_bytes + over - start)))
    assert image == RawImage("here", "ann", digest.hexdigest(), b"", max_bytes + over, "too_many_bytes")
    assert peak < 20 << 20


def test_what_is_here_and_above_the_limit_is_let_go() -> None:
    image = held(b"picture", source="here", identity="ann", max_bytes=6)
    assert image == RawImage("here", "ann", hashlib.sha256(b"picture").hexdigest(), b"", 7, "too_many_bytes")


@pytest.mark.parametrize("max_bytes", [100, 5])
@pytest.mark.parametrize("there", [0, 6])
@pytest.mark.parametrize("error", [None, OSError("the disk is gone")])
def test_a_short_read_is_a_lost_image(max_bytes: int, there: int, error: OSError | None) -> None:
    image = taken(Endless(there, error), 7, max_bytes)
    assert image == lost("here", "ann")
    assert (image.fault, image.data, image.num_bytes) == ("unreadable", b"", 0)
    assert image.image_id == hashlib.sha256(b"").hexdigest()


def test_an_image_without_a_byte_is_an_image() -> None:
    assert taken(Endless(0), 0).fault is None


def test_a_broken_part_says_where_and_how_much() -> None:
    assert str(Break("a.tar", 1536, 2048, "no tar header")) == (
        "a.tar is broken from byte 1,536 for 2,048 bytes: no tar header"
    )
    assert str(Break("a.rec", 0, 0, "the file is empty")) == "a.rec: the file is empty"


@pytest.mark.parametrize(
    ("values", "images", "num_bytes", "full"),
    [
        ({}, 511, 0, False),
        ({}, 512, 0, True),
        ({}, 1, (16 << 20) - 1, False),
        ({}, 1, 16 << 20, True),
        ({"chunk_images": 3}, 2, 0, False),
        ({"chunk_images": 3}, 3, 0, True),
        ({"chunk_bytes": 1 << 20}, 1, 1 << 20, True),
    ],
)
def test_a_portion_is_full_by_images_or_bytes_and_never_larger_than_a_chunk(
    values: dict[str, int], images: int, num_bytes: int, full: bool
) -> None:
    settings = SOURCES.validate({"kind": "tar", "path": "x", **values})
    assert is_full(images, num_bytes, settings) == full


def test_a_cutter_leaves_out_portions_without_an_image() -> None:
    cutter = PortionCutter("a.tar", TarSettings(path="x"))
    assert list(cutter.cut(10)) == []
    cutter.add(5)
    cutter.add(6)
    assert list(cutter.cut(20)) == [Portion("a.tar", 10, 20, 2, 11)]
    assert list(cutter.cut(30)) == []


@pytest.mark.parametrize("name", [b"ann", "jörg".encode(), b"n\xff", b"\xed\xa0\x80"])
def test_a_name_of_any_bytes_becomes_text_the_same_way(name: bytes) -> None:
    told = printable(name)
    assert told.encode()
    assert text(os.fsdecode(name)) == told
    assert as_bytes(os.fsdecode(name)) == name


def test_half_a_pair_becomes_text() -> None:
    assert text("a\ud800b") == "a\\ud800b"
