"""Decoding that cannot harm the task: what may crash, hang or eat the memory is decoded in a helper process.

In the process itself stays what its header shows to be cheap, in the two formats of nearly all faces: a JPEG or PNG of
at most PLAIN_BYTES, the JPEG's pixels times its passes being at most PLAIN_PIXELS. There is one helper per process,
started at the first picture that needs it; it may take `max_decode_bytes` beside what the process was given.
"""

import atexit
import functools
import os
import threading

from pipelines import jpeg
from pipelines.decode_faults import DECODER_CRASHED, TOO_MUCH_MEMORY, DecodeError
from pipelines.helper import Helper
from pipelines.pixels import Decoded, decode, sniff
from pipelines.settings import PixelSettings

PLAIN_BYTES = 8 << 20  # more can be millions of empty chunks, each a turn of a Python loop
PLAIN_PIXELS = 100_000_000

# What may be the work of the pictures before.
_DOUBTFUL = frozenset({TOO_MUCH_MEMORY, DECODER_CRASHED})


def guarded_decode(data: bytes, settings: PixelSettings) -> Decoded:
    """As `pipelines.pixels.decode`, but no bytes kill, stall or fill the process.

    Raises:
        DecodeError: as there, or TOO_SLOW, TOO_MUCH_MEMORY, DECODER_CRASHED.
        RuntimeError: the helper does not start, whatever the picture.
    """
    return decode(data, settings) if is_plain(data, settings) else _keeper.decode(data, settings)


def is_plain(data: bytes, settings: PixelSettings) -> bool:
    """Whether the picture is refused unread, or cheap to decode.

    Raises:
        DecodeError: no image, or none that is read here.
    """
    if not data or len(data) > settings.max_bytes:
        return True
    picture_format = sniff(data)
    if len(data) > PLAIN_BYTES:
        return False
    if picture_format == "JPEG":
        num_scans = jpeg.count_scans(data)
        if num_scans * settings.max_pixels <= PLAIN_PIXELS:  # without a look at the header, which takes a tenth
            return True
        header = jpeg.read_header(data)
        return header.width * header.height * num_scans <= PLAIN_PIXELS
    return picture_format == "PNG"


class _Keeper:
    """Keeps the one helper of this process."""

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
            # The outcome shall depend neither on the pictures before nor on who killed the helper.
            self.stop()
            return self._helper_for(settings).decode(data)

    def stop(self) -> None:
        if self._helper is not None:
            self._helper.stop()
            self._helper = None

    def leave_to_parent(self) -> None:
        """After a fork: the helper answers the parent alone, and must see it die."""
        if self._helper is not None:
            self._helper.close_pipes()
        self._lock, self._helper = threading.Lock(), None

    def _helper_for(self, settings: PixelSettings) -> Helper:
        _care_for_ends()
        if self._helper is None or self._helper.is_stopped or self._helper.settings != settings:
            self.stop()
            self._helper = Helper(settings)
        return self._helper


_keeper = _Keeper()


@functools.cache
def _care_for_ends() -> None:
    os.register_at_fork(after_in_child=_keeper.leave_to_parent)
    atexit.register(_keeper.stop)
