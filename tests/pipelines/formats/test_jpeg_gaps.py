"""Bytes between the segments of a JPEG: filling and text are harmless, the rest of a damaged segment is damage."""

from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg

from pipelines.decode_faults import CORRUPT, DecodeError
from pipelines.formats.jpeg import decode_jpeg
from pipelines.settings import PixelSettings

DrawJpeg = Callable[..., bytes]

SETTINGS = PixelSettings()
COMMENT = b"\xff\xfe\x00\x0etwelve bytes"
EXIF = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\1\0\x12\x01\x03\0\1\0\0\0\6\0\0\0\0\0\0\0"


def check_accepted(data: bytes, clean: bytes) -> None:
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(data)
    rgb, header = decode_jpeg(data, SETTINGS)
    assert header.warnings == 1
    assert np.array_equal(rgb, decode_jpeg(clean, SETTINGS)[0])


def check_refused(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_jpeg(data, SETTINGS)
    assert caught.value.fault == CORRUPT
    assert "bytes between segments" in str(caught.value)


def without_marker(data: bytes, marker: int, *, number: int = 0) -> bytes:
    """The file after damage to the first byte of a marker."""
    place = -1
    for _ in range(number + 1):
        place = data.index(bytes([0xFF, marker]), place + 1)
    return data[:place] + b"\x5f" + data[place + 1 :]


@pytest.mark.parametrize("gap", [b"\0", bytes(2), bytes(70_000), b"\xaa" * 3, b"a note", bytes(range(60, 90))])
def test_other_bytes_after_metadata_are_harmless(draw_jpeg: DrawJpeg, gap: bytes) -> None:
    clean = draw_jpeg(0)
    check_accepted(clean[:20] + gap + clean[20:], clean)


def test_a_damaged_comment_is_harmless(draw_jpeg: DrawJpeg) -> None:
    clean = draw_jpeg(0)
    check_accepted(clean[:20] + without_marker(COMMENT, 0xFE) + clean[20:], clean)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_damaged_huffman_tables_are_damage_although_libjpeg_takes_others(
    draw_jpeg: DrawJpeg, options: dict[str, object]
) -> None:
    check_refused(without_marker(draw_jpeg(1, **options), 0xC4))


def test_damaged_tables_between_scans_are_damage(draw_jpeg: DrawJpeg) -> None:
    data = draw_jpeg(1, progressive=True)
    assert data.count(b"\xff\xc4") == 10
    for number in range(10):
        with pytest.raises(DecodeError, match=r"^corrupt"):
            decode_jpeg(without_marker(data, 0xC4, number=number), SETTINGS)


def test_damaged_tables_after_other_segments_between_scans_are_damage(draw_jpeg: DrawJpeg) -> None:
    data = draw_jpeg(1, progressive=True)
    scan = data.index(b"\xff\xda")
    for number in range(3, 10):
        place = -1
        for _ in range(number + 1):
            place = data.index(b"\xff\xc4", place + 1)
        assert place > scan
        with pytest.raises(DecodeError, match=r"^corrupt"):
            decode_jpeg(data[:place] + COMMENT + b"\x5f" + data[place + 1 :], SETTINGS)


def test_a_lost_scan_is_damage(draw_jpeg: DrawJpeg) -> None:
    data = draw_jpeg(2, progressive=True)
    last = data.rindex(b"\xff\xda")
    check_refused(data[:last] + bytes(len(data) - last - 2) + data[-2:])


def test_metadata_that_tell_colours_or_the_orientation_are_missed(draw_jpeg: DrawJpeg) -> None:
    data = draw_jpeg(3, "CMYK")
    assert b"Adobe" in data
    check_refused(without_marker(data, 0xEE))
    clean = draw_jpeg(3)
    turned = clean[:2] + EXIF + clean[2:]
    assert decode_jpeg(turned, SETTINGS)[1].orientation == 6
    check_refused(without_marker(turned, 0xE1))


def test_colours_that_no_segment_states_are_not_guessed(draw_jpeg: DrawJpeg) -> None:
    clean = draw_jpeg(4)
    bare = clean[:2] + clean[20:]
    assert np.array_equal(decode_jpeg(bare, SETTINGS)[0], decode_jpeg(clean, SETTINGS)[0])
    check_refused(bare[:2] + b"a note" + bare[2:])
    check_accepted(without_marker(clean, 0xE0), clean)  # the gap itself says that it was JFIF
    grey = draw_jpeg(4, "L")
    check_accepted(grey[:2] + b"a note" + grey[20:], grey)


@pytest.mark.parametrize("added", [b"\x21", b"\x21\x34", bytes(range(16, 32))])
@pytest.mark.parametrize("marker", [0xDB, 0xC4])
def test_bytes_that_were_pushed_out_of_a_table_are_damage(draw_jpeg: DrawJpeg, marker: int, added: bytes) -> None:
    data = draw_jpeg(5)
    place = data.rindex(bytes([0xFF, marker])) + 60  # among its last values, which few pictures need
    check_refused(data[:place] + added + data[place:])
    check_refused(data[:place] + data[place : place + 1] * len(added) + data[place:])
