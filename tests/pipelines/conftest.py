"""Small picture sets with planted truth, and the stages over them."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.formats.signatures import reads_heif
from pipelines.sample.drawing import draw_photo
from pipelines.sample.person import draw_person
from pipelines.sample.shot import Camera, Pose, take_shot

reads_heif()

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")

Draw = Callable[[int], NDArray[np.uint8]]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """A picture of coarse structure that no other seed resembles: (96, 80, 3) RGB."""

    def drawn(seed: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, size=(20, 20, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (80, 96), interpolation=cv2.INTER_CUBIC)
        return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)

    return drawn


@pytest.fixture(scope="session")
def draw_jpeg(draw: Draw) -> Callable[..., bytes]:
    """A drawn picture as a JPEG of Pillow's encoder, of a mode and with options of it."""

    def drawn(seed: int, mode: str = "RGB", **options: object) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(draw(seed)).convert(mode).save(stream, "JPEG", **{"quality": 90, **options})
        return stream.getvalue()

    return drawn


@pytest.fixture(scope="session")
def draw_face() -> Draw:
    """A frontal portrait (160, 160, 3) RGB, the eyes around x 80, y 72; the cascade finds seeds 0, 2, 3, 5 and 6."""

    def drawn(seed: int) -> NDArray[np.uint8]:
        person = draw_person(np.random.default_rng(seed))
        shot = take_shot(np.random.default_rng(6), person, size_px=(160, 160))
        pose = Pose(yaw=0.0, pitch=0.0, roll=0.0, head_size=0.3, centre_x=0.5, centre_y=0.45)
        camera = Camera(width_px=160, height_px=160, noise=2.0, jpeg_quality=90)
        frontal = replace(shot, pose=pose, wear=replace(shot.wear, hat=None, glasses=False), camera=camera)
        return draw_photo(person, frontal, np.random.default_rng(seed))

    return drawn


@pytest.fixture(scope="session")
def to_jpeg() -> Callable[..., bytes]:
    def encode(picture: NDArray[np.uint8], quality: int = 92) -> bytes:
        return bytes(cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1])

    return encode


@pytest.fixture(scope="session")
def write_images() -> Callable[[Path, dict[str, bytes]], Path]:
    """Write named files below a folder."""

    def write(root: Path, files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root

    return write


@pytest.fixture(scope="session")
def write_tar() -> Callable[[Path, dict[str, bytes]], Path]:
    """Write named members into a tar."""
    import tarfile

    def write(path: Path, files: dict[str, bytes]) -> Path:
        with tarfile.open(path, "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return write


@pytest.fixture(scope="session")
def mutants() -> Callable[..., Iterator[bytes]]:
    """Damaged pictures of 24x20 pixels in every readable format; the same ones for the same seed."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8))
    variants: dict[str, list[tuple[Image.Image, dict[str, object]]]] = {name: [(picture, {})] for name in FORMATS}
    variants["JPEG"] += [(picture, {"progressive": True}), (picture.convert("CMYK"), {})]
    variants["PNG"] += [(picture.convert("P"), {}), (picture.convert("RGBA"), {})]
    variants["TIFF"] += [(picture, {"compression": name}) for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")]
    variants["WEBP"] += [(picture, {"lossless": True}), (picture, {"save_all": True, "append_images": [picture]})]

    def encoded(drawn: Image.Image, picture_format: str, options: dict[str, object]) -> bytes:
        stream = io.BytesIO()
        drawn.save(stream, picture_format, **options)
        return stream.getvalue()

    def mutate(num_trials: int, seed: int, formats: tuple[str, ...] = FORMATS) -> Iterator[bytes]:
        rng = random.Random(seed)
        whole = [encoded(drawn, name, options) for name in formats for drawn, options in variants[name]]
        for trial in range(num_trials):
            damaged = _mutated(whole[trial % len(whole)], rng.choice(whole), rng)
            yield _with_sound_checksums(damaged) if rng.random() < 0.5 else damaged

    return mutate


def _mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8)):
        start = rng.randrange(len(changed))
        run = slice(start, start + rng.randrange(1, 40))
        match rng.randrange(16):
            case 0:
                del changed[start:]
            case 1:
                changed[start:] = other[len(other) // 2 :]
            case 2 | 3 | 4:
                changed[run] = bytes(len(changed[run]))
            case 5 | 6 | 7:
                del changed[run]
            case 8 | 9:
                changed[start:start] = rng.randbytes(rng.randrange(1, 40))
            case 10 | 11 | 12:
                changed[start : start + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
            case _:
                changed[start] = rng.randrange(256)
        if not changed:
            return b""
    return bytes(changed)


def _with_sound_checksums(data: bytes) -> bytes:
    """Else every damaged PNG is found before its pixels are looked at."""
    repaired, position = bytearray(data), 8
    while data.startswith(b"\x89PNG") and position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        repaired[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(repaired)


@pytest.fixture(scope="session")
def write_rec() -> Callable[..., list[int]]:
    """Write payloads as MXNet RecordIO, straight from dmlc-core's rules; returns where each record starts."""
    magic = (0xCED7230A).to_bytes(4, "little")

    def framed(payload: bytes) -> bytes:
        # A magic on a 4-byte boundary of the payload is left out, and the payload cut there.
        pieces, start = [], 0
        place = payload.find(magic)
        while place >= 0:
            if place % 4 == 0:
                pieces.append(payload[start:place])
                start = place + 4
            place = payload.find(magic, place + 1)
        pieces.append(payload[start:])
        kinds = [0] if len(pieces) == 1 else [1, *[2] * (len(pieces) - 2), 3]
        parts = zip(kinds, pieces, strict=True)
        return b"".join(
            magic + struct.pack("<I", kind << 29 | len(piece)) + piece + bytes(-len(piece) % 4) for kind, piece in parts
        )

    def write(path: Path, payloads: Sequence[bytes], *, index: bool = False) -> list[int]:
        records = [framed(payload) for payload in payloads]
        starts = [sum(map(len, records[:number])) for number in range(len(records))]
        path.write_bytes(b"".join(records))
        if index:
            path.with_suffix(".idx").write_text("".join(f"{key}\t{start}\n" for key, start in enumerate(starts)))
        return starts

    return write


@pytest.fixture(scope="session")
def to_record() -> Callable[..., bytes]:
    """The payload of an image with one label, or with a list of them: `flag u32, label f32, id u64, id2 u64`."""

    def payload(label: float | Sequence[float], data: bytes = b"", *, key: int = 0) -> bytes:
        if isinstance(label, int | float):
            return struct.pack("<IfQQ", 0, label, key, 0) + data
        return struct.pack("<IfQQ", len(label), 0, key, 0) + struct.pack(f"<{len(label)}f", *label) + data

    return payload
