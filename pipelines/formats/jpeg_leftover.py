"""Bytes that are left over in the entropy-coded data of a JPEG after its last block.

They are harmless if someone put them there: cameras fill their files. They are damage if they belong to the picture: a
changed bit shifts the boundaries of the codes, and the decoder has all blocks before the data end. So unless they are
filling or text, two things are asked. An encoder fills the last byte with ones (T.81, F.1.2.3), while a decoder out of
step stops at any bit. And the end of a picture's data reads as whole blocks, as other bytes do not.
"""

import bisect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import simplejpeg

from pipelines.arrays import Picture
from pipelines.decode_faults import CORRUPT, DecodeError
from pipelines.formats.jpeg_form import Draft
from pipelines.formats.jpeg_gaps import is_complete, is_filling, is_segment
from pipelines.formats.jpeg_markers import Segment

_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before")
_OUT_OF_DATA = "premature end of data segment"
_STUFFED = b"\xff\x00"  # a byte FF of the data
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MOST_RESTARTS = 1 << 16  # that are looked at
_READ_AHEAD = 16  # bytes, with their stuffing, that may lie in the decoder's bit buffer uncounted

_MOST_READ = 1024  # bytes of those left over; codes find back to their boundaries after some errors
_FEWEST_ONES = 2  # bits
_TEXT = re.compile(rb"[\t\n\r -~]{8,}")

# A stretch with bytes left over takes about ten decodings; a picture with many of them is not worth the time.
_MOST_PASSES = 32


def cut_leftovers(draft: Draft, colorspace: str) -> None:
    """Remove the bytes that are left over in each stretch of entropy-coded data.

    Args:
        draft: is changed; each stretch with bytes left over adds one to its faults of form.
        colorspace: simplejpeg's name of what the picture can be decoded to.

    Raises:
        DecodeError: the bytes may belong to the picture.
    """
    passes = _Passes(colorspace)
    while _EXTRANEOUS.search(passes.complaint(draft.joined())):
        if not is_complete(Segment(*segment) for segment in draft.segments.values()):
            raise DecodeError(CORRUPT, "a scan is missing, and bytes are left over after another one")
        _cut_first(draft, passes)
        draft.num_faults += 1


class _Passes:
    """Decoding, a limited number of times."""

    def __init__(self, colorspace: str) -> None:
        self._colorspace = colorspace
        self._num_left = _MOST_PASSES

    def complaint(self, data: bytes) -> str:
        """The first warning of libjpeg; empty if there is none."""
        try:
            self.pixels(data, strict=True)
        except ValueError as error:
            return str(error)
        return ""

    def pixels(self, data: bytes, *, strict: bool) -> Picture:
        """The picture; a warning is an error if it is strict."""
        if self._num_left == 0:
            raise DecodeError(CORRUPT, "too many stretches of its data have bytes left over")
        self._num_left -= 1
        picture: Picture = simplejpeg.decode_jpeg(data, colorspace=self._colorspace, strict=strict)
        return picture


def _cut_first(draft: Draft, passes: _Passes) -> None:
    stretch, num_left_over = _first_with_leftover(draft, passes)
    end = _last_read(stretch, num_left_over, passes)
    if not _is_foreign(stretch, end, passes):
        num_bytes = len(stretch.data) - end
        raise DecodeError(CORRUPT, f"{num_bytes} bytes of the picture are left over after its last block")
    draft.parts[stretch.scan] = b"".join([stretch.before, stretch.data[:end], stretch.after])


@dataclass(frozen=True)
class _Stretch:
    """Entropy-coded data between two markers."""

    draft: Draft
    scan: int  # its part of the draft
    data: bytes  # with the restart marker at its start
    before: bytes  # data of the scan
    after: bytes

    def jpeg(self, data: bytes) -> bytes:
        """The JPEG up to this stretch, with other data for it."""
        return self.draft.up_to(self.scan, self.before, data)


def _first_with_leftover(draft: Draft, passes: _Passes) -> tuple[_Stretch, int]:
    """The first stretch with bytes left over, and their number as libjpeg counts it."""

    def num_left_over(data: bytes) -> int:
        found = _EXTRANEOUS.search(passes.complaint(data))
        return int(found[1]) if found else 0

    # A JPEG that ends after a scan or a stretch before it has another first warning, or none.
    scan = _first(draft.scans, lambda scan: num_left_over(draft.up_to(scan + 1)) > 0)
    data = draft.parts[scan]
    ends = [found.start() for found in islice(_RESTART.finditer(data), _MOST_RESTARTS)] + [len(data)]
    end = _first(ends, lambda end: num_left_over(draft.up_to(scan, data[:end])) > 0)
    start = max((other for other in ends if other < end), default=0)
    stretch = _Stretch(draft, scan, data[start:end], data[:start], data[end:])
    return stretch, num_left_over(stretch.jpeg(stretch.data))


def _first(numbers: Sequence[int], is_reached: Callable[[int], bool]) -> int:
    """The first of the numbers for which a condition holds that holds for all that follow, the last one in any case."""
    return numbers[bisect.bisect_left(range(len(numbers) - 1), True, key=lambda at: is_reached(numbers[at]))]


def _last_read(stretch: _Stretch, num_left_over: int, passes: _Passes) -> int:
    """The position after the last byte that the decoder needs."""
    most = len(stretch.data) - num_left_over
    ends = range(max(0, most - _READ_AHEAD), most + 1)
    return _first(ends, lambda end: _OUT_OF_DATA not in passes.complaint(stretch.jpeg(stretch.data[:end])))


def _is_foreign(stretch: _Stretch, end: int, passes: _Passes) -> bool:
    """True if the bytes from `end` on are none of the picture."""
    read, leftover = stretch.data[:end], stretch.data[end:]
    if is_filling(leftover):
        # Where filling replaced data, the decoder stops at some byte within it.
        return end > 0 and read[-1] != leftover[0]
    if is_segment(leftover):
        return False
    if _TEXT.fullmatch(leftover):
        return True
    unused = _unused_bits(stretch, read, passes)
    if unused is None:
        return False
    codes = stretch.draft.codes(stretch.scan)
    if codes.is_refinement:
        return len(unused) >= _FEWEST_ONES
    without_filling = leftover.rstrip(leftover[-1:])
    candidates = [leftover, without_filling] if is_filling(leftover[len(without_filling) :]) else [leftover]
    return not any(codes.reads_to_end(unused + _bits(candidate[-_MOST_READ:])) for candidate in candidates)


def _unused_bits(stretch: _Stretch, read: bytes, passes: _Passes) -> str | None:
    """The bits after the last code, in the last byte that was read; None if they are not all ones."""
    if not read:
        return None
    rest, last = (read[:-2], 0xFF) if read.endswith(_STUFFED) else (read[:-1], read[-1])
    pixels = passes.pixels(stretch.jpeg(read), strict=False)
    for number in range(8):
        # A bit of a code changes the picture.
        changed = last ^ 1 << number
        other = rest + (_STUFFED if changed == 0xFF else bytes([changed]))
        if not np.array_equal(passes.pixels(stretch.jpeg(other), strict=False), pixels):
            return "1" * number
        if not last >> number & 1:
            return None
    return None


def _bits(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data.replace(_STUFFED, b"\xff"))
