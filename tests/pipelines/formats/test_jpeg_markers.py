"""The walk over the markers of a JPEG; the oracle are files put together segment by segment."""

import io
import struct
import time
from collections.abc import Callable

import pytest
from PIL import Image

from pipelines.decode_faults import CORRUPT, TRUNCATED, DecodeError
from pipelines.formats.jpeg_markers import END_OF_IMAGE, Segment, count_scans, most_scans, segments

DrawJpeg = Callable[..., bytes]


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


SCAN = segment(0xDA, b"scan")
START, END = b"\xff\xd8", b"\xff\xd9"


def test_segments_gaps_and_data_are_those_that_were_put_together() -> None:
    data = b"\x12\xff\x00\x34\xff\xd0\x56\xff\xff\x00\xff\xd7"  # stuffed bytes and restarts end no scan
    header = START + segment(0xE0, b"one") + b"gap" + segment(0xC4)
    assert list(segments(header + SCAN + data + b"\xff\xff" + SCAN + b"\x01" + END + b"film")) == [
        Segment(0xE0, b"one"),
        Segment(0xC4, skipped=b"gap"),
        Segment(0xDA, b"scan", data=data + b"\xff\xff"),
        Segment(0xDA, b"scan", data=b"\x01"),
        Segment(END_OF_IMAGE),
    ]


def test_filling_stray_restarts_and_stuffed_bytes_between_segments_are_skipped() -> None:
    gap = b"\xff\xff\xff" + segment(0xE1, b"a")[1:] + b"\xff\xd3\xff\x01" + b"\0\xff\0\0" + segment(0xE2, b"b")
    assert list(segments(START + gap + b"\0" + END)) == [
        Segment(0xE1, b"a"),
        Segment(0xE2, b"b", b"\xff\xd3\xff\x01\0\xff\0\0"),
        Segment(END_OF_IMAGE, skipped=b"\0"),
    ]


@pytest.mark.parametrize(
    ("tail", "fault"),
    [
        (b"", TRUNCATED),
        (b"\xff", TRUNCATED),
        (b"\xff\xe0", TRUNCATED),
        (b"\xff\xe0\0", TRUNCATED),
        (b"\xff\xe0\0\x05ab", TRUNCATED),
        (SCAN + b"abc", TRUNCATED),
        (SCAN + b"abc\xff", TRUNCATED),
        (b"\xff\xe0\0\x01" + END, CORRUPT),
        (START + b"\0\x05abc" + END, CORRUPT),
    ],
)
def test_broken_markers_are_a_named_fault(tail: bytes, fault: str) -> None:
    with pytest.raises(DecodeError) as caught:
        list(segments(START + tail))
    assert caught.value.fault == fault


def test_scans_are_counted_up_to_the_end_of_the_picture() -> None:
    thumbnail = segment(0xE1, START + SCAN + END)
    data = START + thumbnail + SCAN + b"\xff\0" + segment(0xC4) + SCAN + END
    assert count_scans(data + b"\xff\xda" * 1_000) == 2
    assert most_scans(data + b"\xff\xda" * 1_000) == 1_003
    assert count_scans(data[:-1]) == 2


def test_as_many_scans_are_counted_as_pillow_writes(draw_jpeg: DrawJpeg) -> None:
    assert count_scans(draw_jpeg(0)) == 1
    # libjpeg's script for progressive pictures (jcparam.c, jpeg_simple_progression): 10 for YCbCr, 6 for grey
    assert count_scans(draw_jpeg(0, progressive=True)) == 10
    assert count_scans(draw_jpeg(0, "L", progressive=True)) == 6


def test_the_time_is_linear_in_the_bytes() -> None:
    stream = io.BytesIO()
    Image.effect_noise((900, 900), 100).save(stream, "JPEG", quality=95)

    def seconds(data: bytes) -> float:
        begun = time.process_time()
        assert count_scans(data) == 1
        return time.process_time() - begun

    picture = stream.getvalue()
    ten_times = picture[:-2] + picture[700:-2] * 9 + END  # no pictures, but markers of one scan
    film = picture + b"\xff\xda\0\1\xff\xd9" * 2_000_000
    assert min(seconds(ten_times) for _ in range(3)) < 40 * min(seconds(picture) for _ in range(3))
    assert min(seconds(film) for _ in range(3)) < 5 * min(seconds(picture) for _ in range(3)) + 0.001
