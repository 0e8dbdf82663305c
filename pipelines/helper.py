"""The parent's side of a helper process that decodes pictures within limits of time and memory.

Requests on its standard input are the length and the bytes of a picture; answers on its standard output are the length
of a JSON header, the header, and the pixels if there are any. The other side is `pipelines.helper_child`.
"""

import contextlib
import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from typing import IO

import numpy as np

from pipelines.decode_faults import DECODER_CRASHED, TOO_SLOW, DecodeError
from pipelines.pixels import Decoded
from pipelines.settings import PixelSettings

LENGTH = struct.Struct(">Q")
READY = b"ready"

# Limit of wall-clock time over the limit of processor time: for a helper that sleeps or waits for a busy machine.
WALL_FACTOR = 3.0
_START_SECONDS = 120.0


class Helper:
    """A running helper with one set of limits; not to be shared between threads or across a fork.

    Raises:
        RuntimeError: it does not start; the message has the last line that it printed.
    """

    def __init__(self, settings: PixelSettings) -> None:
        self.settings = settings
        self.is_used = False
        with tempfile.TemporaryFile() as output:
            self._process = _start(settings, output)
            try:
                self._read(len(READY), time.monotonic() + _START_SECONDS)
            except BaseException as error:
                self.stop()
                if not isinstance(error, (EOFError, TimeoutError)):
                    raise
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"]
                raise RuntimeError(f"the process that decodes pictures did not start: {lines[-1]}") from None

    @property
    def is_stopped(self) -> bool:
        return self._process.returncode is not None

    def decode(self, data: bytes) -> Decoded:
        """Decode one picture in the helper, which is stopped if it crashes or takes too long.

        Raises:
            DecodeError: as `pipelines.pixels.decode`, or TOO_SLOW, TOO_MUCH_MEMORY, DECODER_CRASHED.
        """
        self.is_used = True
        seconds = WALL_FACTOR * self.settings.max_seconds
        try:
            return self._exchange(data, time.monotonic() + seconds)
        except DecodeError:
            raise
        except TimeoutError:
            self.stop()
            raise DecodeError(TOO_SLOW, f"no answer in {seconds:g} s") from None
        except (EOFError, BrokenPipeError):
            raise self._death() from None
        except BaseException:  # half an answer may be in the pipe
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the helper and wait for its end."""
        self._process.kill()
        self._process.wait()
        self.close_pipes()

    def close_pipes(self) -> None:
        """Close the pipes; the helper ends when all their copies are closed."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _exchange(self, data: bytes, deadline: float) -> Decoded:
        self._write(LENGTH.pack(len(data)), deadline)
        self._write(data, deadline)
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
        header = json.loads(self._read(length, deadline))
        if "fault" in header:
            raise DecodeError(header["fault"], header["detail"])
        pixels = self._read(math.prod(header["shape"]), deadline)
        rgb = np.frombuffer(pixels, np.uint8).reshape(header["shape"])
        return Decoded(rgb, header["format"], header["mode"], header["orientation"], header["warnings"])

    def _death(self) -> DecodeError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)  # the pipes close shortly before the process ends
        self.stop()
        code = self._process.returncode
        if code == -signal.SIGPROF:
            return DecodeError(TOO_SLOW, f"took more than max_seconds, which is {self.settings.max_seconds:g}")
        return DecodeError(DECODER_CRASHED, f"the process that decoded it ended with {code}")

    def _write(self, data: bytes, deadline: float) -> None:
        fd = _fd(self._process.stdin)
        view = memoryview(data)
        while view:
            _wait(fd, select.POLLOUT, deadline)
            view = view[os.write(fd, view) :]

    def _read(self, num_bytes: int, deadline: float) -> bytearray:
        fd = _fd(self._process.stdout)
        data = bytearray(num_bytes)
        view = memoryview(data)
        while view:
            _wait(fd, select.POLLIN, deadline)
            num_read = os.readv(fd, [view])
            if num_read == 0:
                raise EOFError
            view = view[num_read:]
        return data


def _start(settings: PixelSettings, output: IO[bytes]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        # -P: no module of the working directory shadows one of ours.
        [sys.executable, "-P", "-m", "pipelines.helper_child", settings.model_dump_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=output,
        bufsize=0,
        # The files that Spark ships are only on sys.path, not in PYTHONPATH. A picture is decoded by one core.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
    )
    os.set_blocking(_fd(process.stdin), False)
    return process


def _fd(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()


def _wait(fd: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(fd, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1_000):
        raise TimeoutError
