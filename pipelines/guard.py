"""Guarded decoding: pictures that may crash, hang or exhaust memory are decoded in a helper process.

Pictures whose header shows that they are cheap are decoded in the process itself: JPEG and PNG, the formats of nearly
all faces, of at most PLAIN_BYTES, and for JPEG at most PLAIN_PIXELS pixels times scans. There is one helper per
process, started at the first picture that needs it; it may use `max_decode_bytes` in addition to the memory of the
process.
"""

import atexit
import functools
import os
import threading

from pipelines.decode_faults import DECODER_CRASHED, TOO_MUCH_MEMORY, DecodeError
from pipelines.formats import jpeg, jpeg_markers
from pipelines.helper import Helper
from pipelines.pixels import Decoded, decode, sniff
from pipelines.settings import PixelSettings

PLAIN_BYTES = 8 << 20  # larger ones can have millions of empty chunks, each a turn of a Python loop
PLAIN_PIXELS = 100_000_000

# Faults that may be caused by the pictures before.
_DOUBTFUL = frozenset({TOO_MUCH_MEMORY, DECODER_CRASHED})


def guarded_decode(data: bytes, settings: PixelSettings) -> Decoded:
    """Decode like `pipelines.pixels.decode`; no input can kill, stall or fill the process.

    Raises:
        DecodeError: as `decode` does, or TOO_SLOW, TOO_MUCH_MEMORY, DECODER_CRASHED.
        RuntimeError: the helper does not start.
    """
    return decode(data, settings) if is_plain(data, settings) else _owner.decode(data, settings)


def is_plain(data: bytes, settings: PixelSettings) -> bool:
    """True for a picture that is cheap to decode, or refused without decoding.

    Raises:
        DecodeError: the bytes are no image, or of a format that is not supported.
    """
    if not data or len(data) > settings.max_bytes:
        return True
    picture_format = sniff(data)
    if len(data) > PLAIN_BYTES:
        return False
    if picture_format == "JPEG":
        most_scans = jpeg_markers.most_scans(data)
        # Checked first, since reading the header takes a tenth of the time of decoding.
        if most_scans * settings.max_pixels <= PLAIN_PIXELS:
            return True
        header = jpeg.read_header(data)
        num_pixels = header.width * header.height
        return num_pixels * most_scans <= PLAIN_PIXELS or num_pixels * jpeg_markers.count_scans(data) <= PLAIN_PIXELS
    return picture_format == "PNG"


class _HelperOwner:
    """Owns the one helper of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper: Helper | None = None

    def decode(self, data: bytes, settings: PixelSettings) -> Decoded:
        with self._lock:
            helper = self._helper_for(settings)
            is_fresh = not helper.is_used
            try:
                return helper.decode(data)
            except DecodeError as error:
                if is_fresh or error.fault not in _DOUBTFUL:
                    raise
            # The outcome must not depend on the pictures before, nor on a kill from outside.
            self.stop()
            return self._helper_for(settings).decode(data)

    def stop(self) -> None:
        if self._helper is not None:
            self._helper.stop()
            self._helper = None

    def leave_to_parent(self) -> None:
        """Drop the helper after a fork: it belongs to the parent, and must see the parent end."""
        if self._helper is not None:
            self._helper.close_pipes()
        self._lock, self._helper = threading.Lock(), None

    def _helper_for(self, settings: PixelSettings) -> Helper:
        _register_cleanup()
        if self._helper is None or self._helper.is_stopped or self._helper.settings != settings:
            self.stop()
            self._helper = Helper(settings)
        return self._helper


_owner = _HelperOwner()


@functools.cache
def _register_cleanup() -> None:
    os.register_at_fork(after_in_child=_owner.leave_to_parent)
    atexit.register(_owner.stop)
