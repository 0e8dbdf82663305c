"""The orientation of a directory that is laid out by hand, in both byte orders and every integer type."""

import struct

import pytest

from pipelines.formats.exif import stored_orientation

BYTE, ASCII, SHORT, LONG, RATIONAL = 1, 2, 3, 4, 5


def exif(byte_order: str, kind: int, value: bytes, count: int = 1) -> bytes:
    start = {"<": b"II*\0", ">": b"MM\0*"}[byte_order] + struct.pack(f"{byte_order}I", 8)
    entries = struct.pack(f"{byte_order}HHII", 0x0100, LONG, 1, 640)
    entries += struct.pack(f"{byte_order}HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    return start + struct.pack(f"{byte_order}H", 2) + entries + bytes(4)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(("kind", "letter"), [(BYTE, "B"), (SHORT, "H"), (LONG, "I"), (6, "b"), (8, "h"), (9, "i")])
def test_an_orientation_is_read_in_every_integer_type(byte_order: str, kind: int, letter: str) -> None:
    for orientation in range(1, 9):
        assert stored_orientation(exif(byte_order, kind, struct.pack(byte_order + letter, orientation))) == orientation


@pytest.mark.parametrize("kind", [ASCII, RATIONAL, 7, 0, 99])
def test_an_orientation_that_is_no_integer_counts_as_upright(kind: int) -> None:
    assert stored_orientation(exif("<", kind, b"\x06")) == 1


@pytest.mark.parametrize("value", [0, 9, 2**16, 2**32 - 2])
def test_an_orientation_out_of_range_counts_as_upright(value: int) -> None:
    assert stored_orientation(exif("<", LONG, struct.pack("<I", value))) == 1


def test_two_orientations_in_one_entry_count_as_upright() -> None:
    assert stored_orientation(exif("<", SHORT, struct.pack("<HH", 6, 6), count=2)) == 1


def test_a_directory_cut_anywhere_counts_as_upright_or_is_read() -> None:
    whole = exif(">", SHORT, struct.pack(">H", 6))
    assert {stored_orientation(whole[:length]) for length in range(len(whole) - 4)} == {1}
