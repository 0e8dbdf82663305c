"""JPEGs with faults of form: what libjpeg warns of although no pixel depends on it.

TurboJPEG reports only the first warning of a picture, and the same warning may or may not touch pixels. So the picture
is rewritten: the segments that pixels depend on, in correct form, with nothing between them and without metadata. It
is sound if the strict decoder then has no complaint.
"""

import re
from dataclasses import dataclass, field
from itertools import islice, takewhile

from pipelines.decode_faults import CORRUPT, DecodeError
from pipelines.formats.jpeg_codes import PROGRESSIVE, Scan, TableReader
from pipelines.formats.jpeg_gaps import check_gaps
from pipelines.formats.jpeg_markers import (
    ADOBE_BYTES,
    APP0,
    APP2,
    APP14,
    END_OF_IMAGE,
    FRAMES,
    SIGNATURE,
    START_OF_SCAN,
    Segment,
    is_adobe,
    is_jfif,
    segments,
)

# The warnings (libjpeg-turbo, jerror.h) that can be of form. The others are of damage: a bad Huffman code, data that
# end too early, a missing restart marker.
_OF_FORM = re.compile(
    "extraneous bytes before|unknown JFIF revision|Unknown Adobe color transform|bad ICC marker|Invalid SOS parameters"
)

_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})
_JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"  # revision 1.1, without a thumbnail
_JFIF_MAJOR = 1
# Adobe's transforms by number of components; libjpeg takes the last one for those that it does not know.
_TRANSFORMS = {3: (0, 1), 4: (0, 2)}
_ICC = b"ICC_PROFILE\0"  # then the number of the chunk, from 1 on, and the number of chunks
_WHOLE_BLOCKS = b"\x00\x3f\x00"  # the parameters of every sequential scan (T.81, table B.3)
_MOST_SEGMENTS = 1 << 15  # a picture of cameras has some dozens; each takes the time of some lines of Python
_END = bytes([0xFF, END_OF_IMAGE])


def is_of_form(complaint: str) -> bool:
    """True for a warning of libjpeg that need not touch any pixel."""
    return _OF_FORM.search(complaint) is not None


@dataclass
class Draft:
    """A picture in parts; joined, and with the end marker, they are a JPEG."""

    parts: list[bytes] = field(default_factory=lambda: [SIGNATURE])
    scans: list[int] = field(default_factory=list)  # the parts that are data of scans
    segments: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # part -> marker and content, of the others
    num_faults: int = 0  # of form, of the picture as found

    def joined(self) -> bytes:
        """The JPEG."""
        return self.up_to(len(self.parts))

    def up_to(self, number: int, *more: bytes) -> bytes:
        """A JPEG of the first parts, and more."""
        return b"".join([*self.parts[:number], *more, _END])

    def add(self, marker: int, content: bytes) -> None:
        """Append a segment."""
        self.segments[len(self.parts)] = (marker, content)
        self.parts.append(bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content)

    def codes(self, scan: int) -> Scan:
        """The codes of the part that is the data of a scan."""
        reader = TableReader()
        before = [self.segments[number] for number in range(scan) if number in self.segments]
        for marker, content in before:
            reader.see(marker, content)
        return reader.scan(before[-1][1])


def rewrite(data: bytes) -> Draft:
    """The same picture in correct form, except for bytes that may be left over in its entropy-coded data.

    Raises:
        DecodeError: the markers are broken, or the bytes between them may be the rest of a segment.
    """
    found = list(islice(segments(data), _MOST_SEGMENTS + 1))
    if len(found) > _MOST_SEGMENTS:
        raise DecodeError(CORRUPT, f"faults of form among more than {_MOST_SEGMENTS} segments")
    frame = next((segment for segment in found if segment.marker in FRAMES), Segment(0, bytes(6)))
    header = list(takewhile(lambda segment: segment.marker != START_OF_SCAN, found))
    check_gaps(found)
    draft = Draft(num_faults=sum(bool(segment.skipped) for segment in found) + _is_icc_broken(header))
    _add_colour(draft, header, frame)
    for segment in found:
        if segment.marker == START_OF_SCAN:
            _add_scan(draft, segment, is_sequential=frame.marker != PROGRESSIVE)
        elif segment.marker not in _METADATA and segment.marker != END_OF_IMAGE:
            draft.add(segment.marker, segment.content)
    return draft


def _add_colour(draft: Draft, header: list[Segment], frame: Segment) -> None:
    """Add the segments that say what the components are."""
    jfif = [s.content for s in header if is_jfif(s)]
    adobe = [s.content for s in header if is_adobe(s)]
    num_components = frame.content[5] if len(frame.content) > 5 else 0
    if jfif:
        draft.add(APP0, _JFIF)
        draft.num_faults += any(content[5] != _JFIF_MAJOR for content in jfif)
    if adobe:
        content, known = adobe[-1][:ADOBE_BYTES], _TRANSFORMS.get(num_components, ())
        if known and content[-1] not in known:
            content = content[:-1] + bytes(known[-1:])
            draft.num_faults += num_components == 4 or not jfif  # else JFIF decides, and libjpeg does not warn
        draft.add(APP14, content)


def _add_scan(draft: Draft, scan: Segment, *, is_sequential: bool) -> None:
    content = scan.content
    first, last, bits = content[-3:]
    if is_sequential and content[-3:] != _WHOLE_BLOCKS:
        # Where bytes before them are lost or added, these three are the right ones in wrong places, or data.
        if 0x3F in (first, bits) or (first == 0 and last != 0x3F and bits != 0):
            raise DecodeError(CORRUPT, f"parameters {content[-3:].hex(' ')} (hex) of a sequential scan")
        content = content[:-3] + _WHOLE_BLOCKS
        draft.num_faults += 1
    draft.add(START_OF_SCAN, content)
    draft.scans.append(len(draft.parts))
    draft.parts.append(scan.data)


def _is_icc_broken(header: list[Segment]) -> bool:
    """True for chunks of an ICC profile (ICC.1:2010, B.4) that are not numbered from 1 to their number."""
    chunks = [s.content for s in header if s.marker == APP2 and s.content.startswith(_ICC) and len(s.content) >= 14]
    return sorted(chunk[12] for chunk in chunks) != list(range(1, len(chunks) + 1)) or any(
        chunk[13] != len(chunks) for chunk in chunks
    )
