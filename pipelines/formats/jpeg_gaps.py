"""Bytes between the segments of a JPEG, which decoders skip: filling, or the rest of a segment that is damaged."""

from collections.abc import Iterable

from pipelines.decode_faults import CORRUPT, DecodeError
from pipelines.formats.jpeg_codes import DEFINE_TABLES, TableReader, has_plausible_tables
from pipelines.formats.jpeg_markers import ADOBE, APP1, EXIF, FRAMES, JFIF, START_OF_SCAN, Segment, is_adobe, is_jfif

_DEFINE_QUANTIZATION = 0xDB
_STEPS = 64  # of a table
_FEWEST_EQUAL = 3  # bytes that are filling; fewer may be the last values of a table
_DECISIVE = (ADOBE, EXIF[:4])  # of metadata that tell the colours and the orientation


def check_gaps(found: list[Segment]) -> None:
    """Check that pixels depend on none of the bytes between segments.

    Raises:
        DecodeError: they may.
    """
    is_stated: bool | None = None
    before = Segment(0)
    num_scans = 0
    for segment in found:
        if segment.skipped:
            if is_stated is None:
                is_stated = _are_tables_stated(found) and _are_colours_stated(found)
            is_harmless = (is_stated or is_filling(segment.skipped)) and _is_foreign(segment.skipped, before, num_scans)
            if not is_harmless or (num_scans > 0 and not is_complete(found)):
                raise DecodeError(CORRUPT, f"{len(segment.skipped)} bytes between segments may be a damaged segment")
        before = segment
        num_scans += segment.marker == START_OF_SCAN


def _is_foreign(skipped: bytes, before: Segment, num_scans: int) -> bool:
    """True for bytes that are no part of a segment that was there."""
    if is_filling(skipped):
        # The end of a table may be many equal values, but then those before it are the same.
        return before.content[-1:] != skipped[:1] or not any(skipped)
    # Bytes in a table that were not there before push as many out at its end.
    if before.marker == _DEFINE_QUANTIZATION and _may_be_steps(skipped[-_FEWEST_EQUAL:], before.content):
        return False
    if before.marker == DEFINE_TABLES and not has_plausible_tables(before.content):
        return False
    # Before the first scan no tables are lost, as all are there; later ones may replace them.
    return not (num_scans and is_segment(skipped)) and not any(name in skipped for name in _DECISIVE)


def _may_be_steps(skipped: bytes, content: bytes) -> bool:
    """True if bytes are within the range of the steps of the quantization table before them."""
    steps = content[-_STEPS:]
    return min(steps, default=0) <= min(skipped) and max(skipped) <= max(steps, default=0)


def is_filling(skipped: bytes) -> bool:
    """True for equal bytes; two that are not zero may as well be the last values of a table."""
    return len(set(skipped)) == 1 and (len(skipped) >= _FEWEST_EQUAL or not any(skipped))


def is_segment(skipped: bytes) -> bool:
    """True for what may be a segment with a damaged marker: its length follows two bytes of the marker, or none."""
    lengths = (int.from_bytes(skipped[start : start + 2]) + start for start in (0, 2) if start + 2 <= len(skipped))
    return len(skipped) in lengths


def is_complete(found: Iterable[Segment]) -> bool:
    """True if the scans have all bits of all coefficients of all components."""
    wanted: set[tuple[int, int]] = set()
    coded: dict[tuple[int, int], int] = {}  # component and coefficient -> the lowest bit
    for segment in found:
        if segment.marker in FRAMES:
            wanted = {(component, coefficient) for component in segment.content[6::3] for coefficient in range(64)}
        elif segment.marker == START_OF_SCAN:
            first, last, bits = segment.content[-3:]
            for component in segment.content[1:-3:2]:
                coded |= {(component, coefficient): bits & 0x0F for coefficient in range(first, last + 1)}
    return wanted <= coded.keys() and not any(coded.values())


def _are_colours_stated(found: list[Segment]) -> bool:
    """True if a segment says what the components are, or may have said what libjpeg takes for granted, YCbCr."""
    frame = next(segment.content for segment in found if segment.marker in FRAMES)
    return frame[5] == 1 or any(
        is_jfif(segment)
        or is_adobe(segment)
        or (segment.marker == APP1 and segment.content.startswith(EXIF))
        or JFIF in segment.skipped
        for segment in found
    )


def _are_tables_stated(found: list[Segment]) -> bool:
    """False if a scan uses a Huffman table that is not defined before it: libjpeg takes the standard one for it."""
    reader = TableReader()
    for segment in found:
        reader.see(segment.marker, segment.content)
        if segment.marker == START_OF_SCAN and not reader.tables.keys() >= reader.used_by(segment.content):
            return False
    return True
