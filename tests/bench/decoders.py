"""JPEG decoders on two cores in two threads of one process, and their answers to damage.

    python tests/bench/decoders.py [--images 2000] [--turns 25] [--only NAME ...] [--turbojpeg LIBRARY]

Drawn faces of 112x112 lie in memory as bytes and are decoded, 128 at a time, into blocks that are there. Each decoder
that is installed is asked by one thread and by two, in short turns one after the other; those that are not are named
with the reason:

- simplejpeg: as the feed has it
- opencv, imagecodecs, kornia, imgread, pillow, pyturbojpeg: a picture a call
- nvimgcodec: 128 pictures a call, by its CPU decoder
- ctypes: two calls a picture of a TurboJPEG library (--turbojpeg), with one handle for each thread; pyturbojpeg 2 asks
  for version 3 of it

Said of each: pictures a second by one thread and by two (`one`, `two`: the upper quarter of the turns, since other
processes only ever slow a turn down), `scaling` (two by twice one), microseconds of CPU a picture, whether the pixels
are those of simplejpeg, and how many of the damaged files that simplejpeg refuses it refuses too. The last line is one
JSON object.
"""

import argparse
import ctypes
import ctypes.util
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import cv2
import numpy as np
import simplejpeg
from feeds.data import FACES, drawn

CHUNK = 128
CHUNKS_PER_TURN = 8
SIDE = FACES.side_px
DAMAGED = 300  # files

Decode = Callable[[Sequence[bytes], np.ndarray], None]  # into (B, S, S, 3); raises where it refuses a file


def by_simplejpeg() -> Decode:
    defaults = ("RGB", False, False, 0, 0, 1)

    def decode(images: Sequence[bytes], block: np.ndarray) -> None:
        list(map(simplejpeg.decode_jpeg, images, *map(repeat, defaults), block))

    return decode


def by_opencv() -> Decode:
    cv2.setNumThreads(1)

    def decode_one(data: bytes) -> np.ndarray:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise ValueError("refused")
        return picture

    return copying(decode_one)


def by_imagecodecs() -> Decode:
    import imagecodecs

    def decode(images: Sequence[bytes], block: np.ndarray) -> None:
        for data, picture in zip(images, block, strict=True):
            imagecodecs.jpeg8_decode(data, out=picture)

    return decode


def by_kornia() -> Decode:
    from kornia_rs.io import decode_image_jpegturbo

    return copying(lambda data: decode_image_jpegturbo(data, "rgb"))


def by_imgread() -> Decode:
    import imgread

    return copying(imgread.Loader(backend="turbojpeg").decode)


def by_pillow() -> Decode:
    import io

    from PIL import Image

    return copying(lambda data: np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB")))


def copying(decode_one: Callable[[bytes], np.ndarray]) -> Decode:
    def decode(images: Sequence[bytes], block: np.ndarray) -> None:
        for data, picture in zip(images, block, strict=True):
            np.copyto(picture, decode_one(data))

    return decode


def by_nvimgcodec() -> Decode:
    from nvidia import nvimgcodec

    backends = [nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)]
    decoder = nvimgcodec.Decoder(
        device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY, max_num_cpu_threads=1, backends=backends
    )

    def decode(images: Sequence[bytes], block: np.ndarray) -> None:
        found = decoder.decode([nvimgcodec.CodeStream(data) for data in images])
        for picture, image in zip(block, found, strict=True):
            if image is None:
                raise ValueError("refused")
            np.copyto(picture, np.asarray(image))

    return decode


def by_pyturbojpeg(path: str | None) -> Decode:
    from turbojpeg import TJPF_RGB, TurboJPEG

    decoder = TurboJPEG(path)

    def decode(images: Sequence[bytes], block: np.ndarray) -> None:
        for data, picture in zip(images, block, strict=True):
            decoder.decode(data, pixel_format=TJPF_RGB, dst=picture)

    return decode


def by_ctypes(path: str | None) -> Decode:
    """The least that Python can ask of TurboJPEG: the header, whose size is compared, and the pixels."""
    found = path or ctypes.util.find_library("turbojpeg")
    if found is None:
        raise ImportError("no TurboJPEG library")
    library = ctypes.CDLL(found)
    library.tjInitDecompress.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.tjInitDecompress())
    size = [ctypes.c_int() for _ in range(4)]
    told = [ctypes.byref(part) for part in size]
    header, pixels = library.tjDecompressHeader3, library.tjDecompress2
    header.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, *[ctypes.c_void_p] * 4]
    pixels.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p, *[ctypes.c_int] * 5]
    rgb, keep_buffer = 0, 1024  # TJPF_RGB, TJFLAG_NOREALLOC

    def decode(images: Sequence[bytes], block: np.ndarray) -> None:
        place, step = block.ctypes.data, block.strides[0]
        for data in images:
            if header(handle, data, len(data), *told) or (size[0].value, size[1].value) != (SIDE, SIDE):
                raise ValueError("refused")
            if pixels(handle, data, len(data), place, SIDE, 0, SIDE, rgb, keep_buffer):
                raise ValueError("refused")
            place += step

    return decode


@dataclass
class Found:
    """The measurements of one decoder."""

    decodes: list[Decode]  # one for each thread
    rates: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: []})  # number of threads -> images/s
    cpu_us: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: []})  # a picture

    def summary(self) -> dict[str, Any]:
        one, two = (statistics.quantiles(self.rates[threads], n=4)[-1] for threads in (1, 2))
        return {
            "one": round(one),
            "two": round(two),
            "scaling": round(two / (2 * one), 3),
            "cpu_us_one": round(statistics.median(self.cpu_us[1]), 1),
            "cpu_us_two": round(statistics.median(self.cpu_us[2]), 1),
        }


def turn(found: Found, executor: ThreadPoolExecutor, images: list[bytes], blocks: list[np.ndarray], first: int) -> None:
    threads = len(blocks)
    begun = threading.Barrier(threads + 1)

    def work(thread: int) -> None:
        begun.wait()
        for number in range(CHUNKS_PER_TURN):
            start = (first + (number * threads + thread) * CHUNK) % (len(images) - CHUNK + 1)
            found.decodes[thread](images[start : start + CHUNK], blocks[thread])

    working = [executor.submit(work, thread) for thread in range(threads)]
    wall, cpu = time.perf_counter(), time.process_time()
    begun.wait()
    for worker in working:
        worker.result()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    number = threads * CHUNKS_PER_TURN * CHUNK
    found.rates[threads].append(number / wall)
    found.cpu_us[threads].append(1e6 * cpu / number)


def is_refused(decode: Decode, data: bytes) -> bool:
    try:
        decode([data], np.empty((1, SIDE, SIDE, 3), np.uint8))
    except Exception:  # every library has classes of its own
        return True
    return False


def damaged(images: Sequence[bytes], count: int) -> list[tuple[str, bytes]]:
    """Files cut within the scan, without their end marker, with a byte changed, and with a few left out."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        data = images[number % len(images)]
        scan = data.index(b"\xff\xda") + 14
        place = int(rng.integers(scan, len(data) - 20))
        byte = bytes([int(rng.integers(256))])
        found.append(
            [
                ("cut", data[:place]),
                ("no_end", data[:-2]),
                ("byte_changed", data[:place] + byte + data[place + 1 :]),
                ("bytes_left_out", data[:place] + data[place + 16 :]),
            ][number % 4]
        )
    return found


def strictness(decode: Decode, files: list[tuple[str, bytes]], images: list[bytes]) -> dict[str, Any]:
    """Refused of the files that simplejpeg refuses, by kind of damage, and of sound ones."""
    kinds: dict[str, list[bool]] = {}
    for kind, data in files:
        kinds.setdefault(kind, []).append(is_refused(decode, data))
    block, expected = (np.zeros((CHUNK, SIDE, SIDE, 3), np.uint8) for _ in range(2))
    decode(images[:CHUNK], block)
    by_simplejpeg()(images[:CHUNK], expected)
    return {
        "refused": {kind: f"{sum(refused)}/{len(refused)}" for kind, refused in kinds.items()},
        "is_strict": all(map(all, kinds.values())),
        "same_pixels": bool((block == expected).all()),
    }


def main() -> None:
    options = arguments()
    makers: dict[str, Callable[[], Decode]] = {
        "simplejpeg": by_simplejpeg,
        "opencv": by_opencv,
        "imagecodecs": by_imagecodecs,
        "kornia": by_kornia,
        "imgread": by_imgread,
        "pillow": by_pillow,
        "pyturbojpeg": lambda: by_pyturbojpeg(options.turbojpeg),
        "nvimgcodec": by_nvimgcodec,
        "ctypes": lambda: by_ctypes(options.turbojpeg),
    }
    images = list(drawn(FACES, options.images))
    files = [file for file in damaged(images, DAMAGED) if is_refused(by_simplejpeg(), file[1])]
    found, result, left_out = {}, {}, {}
    for name in options.only or makers:
        try:
            found[name] = Found([makers[name]() for _ in range(2)])
            result[name] = strictness(found[name].decodes[0], files, images)
        except Exception as error:  # every library has classes of its own
            left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            found.pop(name, None)
    measure(found, images, options.turns)
    for name, one in found.items():
        result[name] = one.summary() | result[name]
        print(name, result[name], flush=True)
    print(json.dumps(result | {"left_out": left_out}))


def measure(found: dict[str, Found], images: list[bytes], turns: int) -> None:
    blocks = [np.zeros((CHUNK, SIDE, SIDE, 3), np.uint8) for _ in range(2)]
    with ThreadPoolExecutor(2) as executor:
        for number in range(turns):
            for one in found.values():
                for threads in (1, 2):
                    turn(one, executor, images, blocks[:threads], number * CHUNK)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--only", nargs="+", help="decoders to compare")
    parser.add_argument("--turbojpeg", help="path of the TurboJPEG library; by default the system's")
    return parser.parse_args()


if __name__ == "__main__":
    main()
