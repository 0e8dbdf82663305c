"""Strict JPEG decoding: planted damage is found, oddities are not damage, odd codings are refused by name."""

import io
import random
import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TOO_MANY_SCANS, TRUNCATED, UNSUPPORTED_CODING, DecodeError
from pipelines.formats.jpeg import decode_jpeg, read_header
from pipelines.settings import PixelSettings

SETTINGS = PixelSettings()


def face_like(seed: int, side: int = 112) -> NDArray[np.uint8]:
    """A smooth coloured picture with some grain, about as hard to compress as a face crop."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def jpeg(picture: NDArray[np.uint8], mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


def fault_of(data: bytes, settings: PixelSettings = SETTINGS) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_jpeg(data, settings)
    return caught.value.fault


def with_exif(data: bytes, exif: bytes) -> bytes:
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + data[2:]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_pixels_are_those_of_pillow(mode: str, options: dict[str, object]) -> None:
    data = jpeg(face_like(0), mode, **options)
    rgb, header = decode_jpeg(data, SETTINGS)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(rgb.astype(int) - expected).max() <= 2
    assert (header.mode, header.width, header.height, header.orientation) == (mode, 112, 112, 1)


@pytest.mark.parametrize("transform", [0, 2])
def test_adobes_inverted_cmyk_and_ycck_give_the_planted_colours(transform: int) -> None:
    ink = np.random.default_rng(1).integers(0, 256, (6, 5, 4)).repeat(8, axis=0).repeat(8, axis=1)  # CMYK, 0..255
    stored = 255.0 - ink
    if transform == 2:
        # libjpeg.txt, "Special color spaces": 255 minus what is stored is taken as RGB and goes through JFIF's matrix.
        red, green, blue = np.moveaxis(255.0 - stored[:, :, :3], 2, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        stored[:, :, :3] = np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], axis=2)
    # Pillow inverts as it writes, so that what is inverted here is stored as it is; and it marks it as plain CMYK.
    inverted = 255 - np.clip(np.round(stored), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(inverted, "CMYK").save(stream, "JPEG", quality=100, subsampling=0)
    data = bytearray(stream.getvalue())
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0
    data[marker + 11] = transform
    expected = (255 - ink[:, :, :3]) * (255 - ink[:, :, 3:]) / 255
    assert np.abs(decode_jpeg(bytes(data), SETTINGS)[0] - expected).max() <= 4


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_one_pixel_wide_or_high_is_fine(shape: tuple[int, int], mode: str) -> None:
    assert decode_jpeg(jpeg(np.zeros((*shape, 3), np.uint8), mode), SETTINGS)[0].shape == (*shape, 3)


def test_a_colour_sampling_without_a_name_is_no_damage() -> None:
    # One block of one colour has the same few bits whether its red plane is said to be 1x1 or 2x1.
    data = bytearray(jpeg(np.full((8, 8, 3), 128, np.uint8), subsampling=2))
    data[data.index(b"\xff\xc0") + 17] = 0x21
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(bytes(data))
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_jpeg(bytes(data), SETTINGS)[0], expected)


def test_bytes_after_the_end_are_no_damage() -> None:
    data = jpeg(face_like(2))
    assert np.array_equal(decode_jpeg(data + bytes(range(256)) * 4, SETTINGS)[0], decode_jpeg(data, SETTINGS)[0])


@pytest.mark.parametrize("kept", [2, 3, 20, 160, 600, -2, -1])
def test_a_cut_file_is_truncated(kept: int) -> None:
    assert fault_of(jpeg(face_like(3))[:kept]) == TRUNCATED


def test_zeros_in_the_middle_are_corrupt() -> None:
    data = jpeg(face_like(4))
    middle = len(data) // 2
    assert fault_of(data[:middle] + bytes(512) + data[middle + 512 :]) == CORRUPT


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF])
def test_lossless_arithmetic_and_hierarchical_codings_are_refused_by_name(marker: int) -> None:
    assert fault_of(jpeg(face_like(5)).replace(b"\xff\xc0", bytes([0xFF, marker]), 1)) == UNSUPPORTED_CODING


@pytest.mark.parametrize(("offset", "value"), [(4, 12), (4, 16), (9, 2), (9, 5)])
def test_other_depths_and_component_counts_are_refused_by_name(offset: int, value: int) -> None:
    data = bytearray(jpeg(face_like(6)))
    data[data.index(b"\xff\xc0") + offset] = value
    assert fault_of(bytes(data)) == UNSUPPORTED_CODING


def test_a_declared_size_is_refused_before_decoding() -> None:
    data = bytearray(jpeg(face_like(7)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert fault_of(bytes(data)) == TOO_MANY_PIXELS


def test_a_height_to_be_told_later_is_corrupt() -> None:
    data = bytearray(jpeg(face_like(8)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = b"\0\0"
    assert fault_of(bytes(data)) == CORRUPT


def test_more_scans_than_allowed_are_refused() -> None:
    data = jpeg(face_like(9), progressive=True)
    assert fault_of(data, PixelSettings(max_scans=3)) == TOO_MANY_SCANS


def test_a_film_after_the_picture_has_no_scans_of_it() -> None:
    data = jpeg(face_like(9), progressive=True)
    # Motion photos: an MP4 has these bytes once in 65,536, and further pictures (CIPA DC-007, multi-picture format).
    film = data * 3 + np.random.default_rng(0).bytes(8 << 20) + b"\xff\xda" * 1_000
    assert film.count(b"\xff\xda") > 10 * SETTINGS.max_scans
    rgb, header = decode_jpeg(data + film, SETTINGS)
    assert np.array_equal(rgb, decode_jpeg(data, SETTINGS)[0])
    assert header.warnings == 0
    assert fault_of(data + film, PixelSettings(max_scans=9)) == TOO_MANY_SCANS


def test_scans_of_a_picture_without_an_end_are_counted() -> None:
    data = jpeg(face_like(9), progressive=True)
    assert fault_of(data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 200) == TOO_MANY_SCANS


def test_a_header_is_read_over_bytes_that_belong_to_no_segment() -> None:
    exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    data = with_exif(jpeg(face_like(10)), exif)
    expected = read_header(data)
    frame = data.index(b"\xff\xc0")
    for gap in (b"\0" * 100, b"\xff\xff\xff", b"\xff\xd0", b"\xff\0"):
        assert read_header(data[:2] + gap + data[2:frame] + gap + data[frame:]) == expected


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(byte_order: str, orientation: int) -> None:
    exif = {"<": b"II*\0", ">": b"MM\0*"}[byte_order] + struct.pack(
        f"{byte_order}IHHHIHHHHIHHI", 8, 2, 0x0100, 3, 1, 640, 0, 0x0112, 3, 1, orientation, 0, 0
    )
    assert read_header(with_exif(jpeg(face_like(10)), exif)).orientation == orientation


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_absurd_orientation_counts_as_upright(orientation: int) -> None:
    exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    assert read_header(with_exif(jpeg(face_like(11)), exif)).orientation == 1


def test_no_bytes_in_exif_or_header_raise_anything_but_a_named_fault() -> None:
    rng = random.Random(0)
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    whole = with_exif(jpeg(face_like(12)), exif)
    for _ in range(3_000):
        data = bytearray(whole[: rng.randrange(2, 700)])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(2, len(data)) if len(data) > 2 else 1] = rng.choice((0, 1, 8, 0xFF, rng.randrange(256)))
        try:
            assert 1 <= read_header(bytes(data)).orientation <= 8
        except DecodeError:
            continue


def _change_a_byte(data: bytearray, rng: random.Random) -> bytes:
    data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    return bytes(data)


def _zero_64_bytes(data: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) - 64)
    data[start : start + 64] = bytes(64)
    return bytes(data)


def _remove_64_bytes(data: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) // 4, 3 * len(data) // 4)
    return bytes(data[:start] + data[start + 64 :])


def _cut(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.randrange(2, len(data))])


@pytest.mark.parametrize(
    ("damage", "least_share"),
    [(_change_a_byte, 0.2), (_zero_64_bytes, 0.35), (_remove_64_bytes, 0.2), (_cut, 1.0)],
)
def test_the_expected_share_of_random_damage_is_found(
    damage: Callable[[bytearray, random.Random], bytes], least_share: float
) -> None:
    rng = random.Random(1)
    clean = [jpeg(face_like(seed)) for seed in range(20)]
    num_found = 0
    for trial in range(400):
        try:
            decode_jpeg(damage(bytearray(clean[trial % len(clean)]), rng), SETTINGS)
        except DecodeError:
            num_found += 1
    assert num_found >= least_share * 400
