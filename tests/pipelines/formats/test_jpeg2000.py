"""JPEG 2000: levels at the ends of every depth, and files with tiles or an end left out."""

import contextlib
import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TRUNCATED, UNSUPPORTED_CODING, DecodeError
from pipelines.formats.jpeg2000 import check_jpeg2000
from pipelines.pixels import decode
from pipelines.settings import PixelSettings

SETTINGS = PixelSettings()
HEIGHT, WIDTH = 36, 44
COLOURS = np.random.default_rng(0).integers(0, 65_536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
COLOURS[:9] = 65_535
COLOURS[9:18] = [0, 0, 0, 65_535]


def encoded(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((COLOURS[:, :, :3] >> 8).astype(np.uint8)).save(stream, "JPEG2000", **options)
    return stream.getvalue()


WHOLE = {"a file": encoded(), "a codestream": encoded(no_jp2=True)}
TILES = encoded(tile_size=(16, 16))


def fault_of(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, SETTINGS)
    return caught.value.fault


@pytest.mark.parametrize("num_channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_and_white_stays_white(num_channels: int) -> None:
    stored = COLOURS[:, :, 0] if num_channels == 1 else COLOURS[:, :, :num_channels]
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1_000]
    data = cv2.imencode(".jp2", stored, lossless)[1].tobytes()
    decoded = decode(data, SETTINGS)
    levels = COLOURS[:, :, :1] if num_channels == 1 else COLOURS[:, :, 2::-1]
    share = COLOURS[:, :, 3:] / 65_535 if num_channels == 4 else 1
    expected = levels / 257 * share + 255 * (1 - share) + np.zeros(3)
    assert decoded.mode == {1: "I;16", 3: "RGB", 4: "RGBA"}[num_channels]
    assert np.abs(decoded.rgb - expected).max() <= 1.5


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (40, b"\0\5"),
        (42, b"\x87"),
        (42, b"\x1f"),
        (42, b"\x10\1\1\x10\1\1\x10"),
        (42, b"\3\1\1\3\1\1\3"),
        (42, b"\7\1\1\5"),
    ],
)
def test_samples_that_are_not_read_are_refused(name: str, place: int, value: bytes) -> None:
    data = WHOLE[name]
    place += data.index(b"\xff\x4f\xff\x51")
    assert fault_of(data[:place] + value + data[place + len(value) :]) == UNSUPPORTED_CODING


def test_a_tile_left_out_is_found() -> None:
    start = TILES.index(b"\xff\x90", TILES.index(b"\xff\x4f\xff\x51"))
    length = int.from_bytes(TILES[start + 6 : start + 10], "big")
    assert fault_of(TILES[:start] + TILES[start + length :]) == CORRUPT


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_without_a_tile_is_truncated(name: str) -> None:
    data = WHOLE[name]
    start = data.index(b"\xff\x90", data.index(b"\xff\x4f\xff\x51"))
    assert fault_of(data[:start]) == TRUNCATED
    assert fault_of(data[:start] + b"\xff\xd9") == CORRUPT
    assert fault_of(data[:-2]) == TRUNCATED


def test_a_tile_that_reaches_to_the_end_is_whole() -> None:
    data = WHOLE["a codestream"]
    place = data.index(b"\xff\x90") + 6
    open_ended = data[:place] + bytes(4) + data[place + 4 :]
    assert (check_jpeg2000(open_ended, SETTINGS).num_components, check_jpeg2000(open_ended, SETTINGS).bits) == (3, 8)
    with pytest.raises(DecodeError, match="no end"):
        check_jpeg2000(open_ended[:-2], SETTINGS)


@pytest.mark.parametrize("name", WHOLE)
def test_a_bomb_is_refused_by_its_declared_size(name: str) -> None:
    data = WHOLE[name]
    place = data.index(b"\xff\x4f\xff\x51") + 8
    assert fault_of(data[:place] + struct.pack(">II", 60_000, 60_000) + data[place + 8 :]) == TOO_MANY_PIXELS


def test_changed_bytes_give_pixels_or_a_named_fault() -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        changed = bytearray(WHOLE["a file"])
        changed[rng.integers(4, 250)] = rng.integers(0, 256)
        with contextlib.suppress(DecodeError):
            decode(bytes(changed), PixelSettings(max_pixels=100_000))
