"""The markers of a JPEG (ITU-T T.81, annex B): its segments, its scans, and the bytes between that belong to none."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.decode_faults import CORRUPT, TRUNCATED, DecodeError

SIGNATURE = b"\xff\xd8"
START_OF_IMAGE = 0xD8
END_OF_IMAGE = 0xD9
START_OF_SCAN = 0xDA
APP0, APP1, APP2, APP14 = 0xE0, 0xE1, 0xE2, 0xEE
JFIF, EXIF, ADOBE = b"JFIF\0", b"Exif\0\0", b"Adobe"  # the first bytes of segments of APP0, APP1, APP14
ADOBE_BYTES = 12  # the last one is the transform of the colours
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # every SOF marker, that of JPEG-LS too

_STUFFING = 0xFF
_JFIF_BYTES = 14
_WITHOUT_CONTENT = frozenset({0x01, *range(0xD0, 0xD8)})
# Within a scan FF 00 is a byte FF of the data; every other marker but those of restarts ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class Segment:
    """A marker and its content; of the start of a scan the entropy-coded data too."""

    marker: int
    content: bytes = b""  # without the two bytes of the length
    skipped: bytes = b""  # bytes before the marker that belong to no segment
    data: bytes = b""  # of a scan


def segments(data: bytes) -> Iterator[Segment]:
    """The segments of a JPEG after the start of the image, the end of the image being the last, in linear time.

    As in libjpeg, bytes that belong to no segment are skipped, and so are restart markers outside of scans. Bytes after
    the end of the image are not looked at.

    Raises:
        DecodeError: the data ends before the image does, or a length is impossible.
    """
    position = len(SIGNATURE)
    while True:
        marker, start, end, skipped = segment_at(data, position)
        if marker == END_OF_IMAGE:
            yield Segment(marker, skipped=skipped)
            return
        position = end
        if marker == START_OF_SCAN:
            found = _END_OF_SCAN.search(data, end)
            position = found.start() if found else len(data)
        yield Segment(marker, data[start:end], skipped, data[end:position])


def segment_at(data: bytes, position: int) -> tuple[int, int, int, bytes]:
    """The first segment from a position on: its marker, the start and end of its content, and the bytes skipped.

    Raises:
        DecodeError: the data ends before the segment does, or its length is impossible.
    """
    try:
        begun = position
        while True:
            if data[position] != _STUFFING:
                position = data.index(b"\xff", position)
            first = position
            while data[position] == _STUFFING:
                position += 1
            marker = data[position]
            if marker and marker not in _WITHOUT_CONTENT:
                break
            position += 1
        skipped = data[begun:first] if first > begun else b""
        if marker == END_OF_IMAGE:
            return marker, position + 1, position + 1, skipped
        length = data[position + 1] << 8 | data[position + 2]
    except (IndexError, ValueError):
        raise DecodeError(TRUNCATED, "ends before the end of the image") from None
    if marker == START_OF_IMAGE or length < 2:
        raise DecodeError(CORRUPT, f"marker {marker:02x} (hex) of length {length} at byte {position}")
    end = position + 1 + length
    if end > len(data):
        raise DecodeError(TRUNCATED, "ends before the end of the image")
    return marker, position + 3, end, skipped


def is_jfif(segment: Segment) -> bool:
    """True for the segment that libjpeg takes for JFIF's."""
    return segment.marker == APP0 and segment.content.startswith(JFIF) and len(segment.content) >= _JFIF_BYTES


def is_adobe(segment: Segment) -> bool:
    """True for the segment that libjpeg takes for Adobe's, which tells the colours."""
    return segment.marker == APP14 and segment.content.startswith(ADOBE) and len(segment.content) >= ADOBE_BYTES


def most_scans(data: bytes) -> int:
    """An upper bound of the number of scans, at a hundredth of the cost of decoding."""
    # Each scan has these bytes; metadata and what stands after the picture, a thumbnail or a film, may have them too.
    return data.count(b"\xff\xda")


def count_scans(data: bytes) -> int:
    """The number of scans up to the end of the image, or up to where its markers are broken.

    Each scan visits all coefficients of the picture, however few bytes it has.
    """
    num_scans = 0
    with contextlib.suppress(DecodeError):
        for segment in segments(data):
            num_scans += segment.marker == START_OF_SCAN
    return num_scans
