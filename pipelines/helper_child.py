"""The helper process: reads pictures from its standard input, writes pixels or faults to its standard output.

Started by `pipelines.helper`, whose docstring describes the protocol. It ends with its input; and the kernel kills it
when a picture takes too much processor time, which no decoder can block and which works without the parent.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import AvifImagePlugin, Image

from pipelines.decode_faults import TOO_MUCH_MEMORY, DecodeError
from pipelines.formats.signatures import reads_heif
from pipelines.helper import LENGTH, READY
from pipelines.pixels import Decoded, decode
from pipelines.settings import PixelSettings

_errno = ctypes.CDLL(None).__errno_location
_errno.restype = ctypes.POINTER(ctypes.c_int)


def main() -> None:
    """Serve until the input ends."""
    settings = PixelSettings.model_validate_json(sys.argv[1])
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Load everything that decoders may import before memory is limited.
    Image.init()
    reads_heif()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # memory and errno are checked in one thread
    num_idle_bytes = _num_data_bytes()
    _send(answers, READY)
    _silence()
    while len(prefix := requests.read(LENGTH.size)) == LENGTH.size:
        data = requests.read(*LENGTH.unpack(prefix))
        with _memory_bounded(num_idle_bytes + len(data) + settings.max_decode_bytes):
            header, pixels = _answer(data, settings)
        words = json.dumps(header).encode()
        _send(answers, LENGTH.pack(len(words)), words, pixels)


def _answer(data: bytes, settings: PixelSettings) -> tuple[dict[str, Any], memoryview]:
    try:
        decoded = _decode(data, settings)
    except DecodeError as error:
        return {"fault": error.fault, "detail": error.detail}, memoryview(b"")
    facts = {name: getattr(decoded, name) for name in ("format", "mode", "orientation", "warnings")}
    return {**facts, "shape": decoded.rgb.shape}, decoded.rgb.data


def _decode(data: bytes, settings: PixelSettings) -> Decoded:
    _errno()[0] = 0
    signal.setitimer(signal.ITIMER_PROF, settings.max_seconds)
    try:
        return decode(data, settings)
    except MemoryError as error:
        raise DecodeError(TOO_MUCH_MEMORY, str(error)) from None
    except DecodeError as error:
        # Half of the libraries report a damaged picture when an allocation fails; errno still has the cause.
        if _errno()[0] == errno.ENOMEM:
            raise DecodeError(TOO_MUCH_MEMORY, error.detail) from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextlib.contextmanager
def _memory_bounded(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _num_data_bytes() -> int:
    """The memory of this process that RLIMIT_DATA counts (Linux; proc(5), statm), in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def _silence() -> None:
    """Discard the output of C libraries, which would flood the log and break the protocol."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())


def _send(answers: BinaryIO, *pieces: bytes | memoryview) -> None:
    for piece in pieces:
        answers.write(piece)
    answers.flush()


if __name__ == "__main__":
    # The parent has ended.
    with contextlib.suppress(BrokenPipeError):
        main()
