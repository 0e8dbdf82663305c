"""The planted faults: each is a function from a clean photo to the bytes of a file.

There are three kinds. A *copy* shows a photo that is in the set already: the keeper rule decides which of the two is
kept (largest, then most bytes, sharpness, image_id), so `expected` describes the pair: one row is kept, the other is a
duplicate. A *conflict* is a copy under another identity: the right name is unknown, so both rows expect `conflict`. The
others use photos that are drawn for them: files that must be rejected, and unusual but valid files that must be kept.
"""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from pipelines.arrays import Picture
from pipelines.records import CONFLICT, DUPLICATE, KEPT, REJECTED

Make = Callable[["Photo", np.random.Generator], bytes]

_BOMB_SIDE_PX = 20_000
_ORIENTATION_TAG = 0x0112
_MIN_COPY_SIDE_PX = 64  # a smaller copy would be rejected as small before duplicates are found
_MAX_ENLARGEMENT = 1.6  # a larger copy would be rejected as blurred, although the largest one is the keeper


@dataclass(frozen=True)
class Photo:
    """A clean photo: its pixels (height, width, 3) RGB and its file."""

    picture: Picture
    jpeg: bytes


@dataclass(frozen=True)
class PlantedFault:
    """A way to modify a photo, and the expected decision on the file."""

    name: str
    make: Make
    expected: str
    reason: str = ""
    extension: str = "jpg"


def encode_jpeg(picture: Picture, quality: int) -> bytes:
    """Encode RGB or grey pixels as a JPEG file."""
    ordered = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    is_done, buffer = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_done
    return buffer.tobytes()


def _copy_exactly(photo: Photo, rng: np.random.Generator) -> bytes:
    return photo.jpeg


def _reencode(photo: Photo, rng: np.random.Generator) -> bytes:
    return encode_jpeg(_as_stored(photo), int(rng.integers(30, 96)))


def _resize(photo: Photo, rng: np.random.Generator) -> bytes:
    stored = _as_stored(photo)
    low = max(0.5, _MIN_COPY_SIDE_PX / min(stored.shape[:2]))
    factor = rng.uniform(low, 0.85) if rng.random() < 0.5 else rng.uniform(1.15, _MAX_ENLARGEMENT)
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
    return encode_jpeg(cv2.resize(stored, None, fx=factor, fy=factor, interpolation=way).astype(np.uint8), 90)


def _mirror(photo: Photo, rng: np.random.Generator) -> bytes:
    return encode_jpeg(np.ascontiguousarray(_as_stored(photo)[:, ::-1]), 92)


def _change_brightness(photo: Photo, rng: np.random.Generator) -> bytes:
    factor = rng.uniform(0.6, 0.85) if rng.random() < 0.5 else rng.uniform(1.15, 1.35)
    return encode_jpeg(np.clip(_as_stored(photo) * factor, 0, 255).astype(np.uint8), 90)


def _copy_or_reencode(photo: Photo, rng: np.random.Generator) -> bytes:
    return (_copy_exactly if rng.random() < 0.5 else _reencode)(photo, rng)


def _as_stored(photo: Photo) -> Picture:
    # Copies start from the decoded file, with the artefacts of the first JPEG.
    decoded = cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, "the photo is a JPEG that was just made"
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _truncate(photo: Photo, rng: np.random.Generator) -> bytes:
    return photo.jpeg[: int(len(photo.jpeg) * rng.uniform(0.3, 0.8))]


def _zero_tail(photo: Photo, rng: np.random.Generator) -> bytes:
    start = int(len(photo.jpeg) * rng.uniform(0.4, 0.7))
    return photo.jpeg[:start] + bytes(len(photo.jpeg) - start)


def _garble(photo: Photo, rng: np.random.Generator) -> bytes:
    start, end = len(photo.jpeg) // 2, len(photo.jpeg) * 3 // 4
    return photo.jpeg[:start] + rng.bytes(end - start) + photo.jpeg[end:]


def _write_no_image(photo: Photo, rng: np.random.Generator) -> bytes:
    page = f"<!DOCTYPE html><html><body><h1>404 Not Found</h1><p>request {rng.integers(10**9)}</p></body></html>\n"
    note = f"photo {rng.integers(10**9)} was taken down by its owner\n"
    return (page.encode(), note.encode())[rng.integers(2)]


def _write_nothing(photo: Photo, rng: np.random.Generator) -> bytes:
    return b""


def _write_bomb(photo: Photo, rng: np.random.Generator) -> bytes:
    head = struct.pack(">IIBBBBB", _BOMB_SIDE_PX, _BOMB_SIDE_PX, 1, 0, 0, 0, 0)
    note = b"Comment\0" + rng.bytes(8).hex().encode()
    chunks = [(b"IHDR", head), (b"tEXt", note), (b"IDAT", _bomb_pixels()), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, body) for name, body in chunks)


@functools.cache
def _bomb_pixels() -> bytes:
    return zlib.compress(bytes(_BOMB_SIDE_PX * (1 + _BOMB_SIDE_PX // 8)), 9)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _shrink(photo: Photo, rng: np.random.Generator) -> bytes:
    side = int(rng.integers(12, 25))
    return encode_jpeg(cv2.resize(photo.picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8), 92)


def _blur(photo: Photo, rng: np.random.Generator) -> bytes:
    sigma = max(photo.picture.shape) * rng.uniform(0.025, 0.04)
    return encode_jpeg(cv2.GaussianBlur(photo.picture, (0, 0), sigma).astype(np.uint8), 92)


def _flatten(photo: Photo, rng: np.random.Generator) -> bytes:
    return encode_jpeg(np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), photo.picture.shape).copy(), 92)


def _as_png(photo: Photo, rng: np.random.Generator) -> bytes:
    return _save(Image.fromarray(photo.picture), "PNG")


def _as_cmyk(photo: Photo, rng: np.random.Generator) -> bytes:
    return _save(Image.fromarray(photo.picture).convert("CMYK"), "JPEG", quality=90)


def _as_sixteen_bit(photo: Photo, rng: np.random.Generator) -> bytes:
    grey = cv2.cvtColor(photo.picture, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 256
    is_done, buffer = cv2.imencode(".png", grey + rng.integers(0, 256, grey.shape, dtype=np.uint16))
    assert is_done
    return buffer.tobytes()


def _as_palette(photo: Photo, rng: np.random.Generator) -> bytes:
    # The palette entry of the upper left pixel becomes transparent, as in a cut-out.
    indexed = Image.fromarray(photo.picture).quantize(64)
    return _save(indexed, "PNG", transparency=int(np.asarray(indexed)[0, 0]))


def _turn(photo: Photo, rng: np.random.Generator) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = 6  # viewers rotate the pixels by 90 degrees clockwise
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(photo.picture)))
    return _save(turned, "JPEG", quality=92, exif=exif.tobytes())


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


COPIES = (
    PlantedFault("exact_copy", _copy_exactly, DUPLICATE),
    PlantedFault("reencoded", _reencode, DUPLICATE),
    PlantedFault("resized", _resize, DUPLICATE),
    PlantedFault("mirrored", _mirror, DUPLICATE),
    PlantedFault("brightness", _change_brightness, DUPLICATE),
)
CONFLICTS = (PlantedFault("conflict", _copy_or_reencode, CONFLICT),)
OWN_PHOTO = (
    PlantedFault("truncated", _truncate, REJECTED, "truncated"),
    # A decoder reports a tail of zeros as missing pixels.
    PlantedFault("zeroed", _zero_tail, REJECTED, "truncated"),
    PlantedFault("garbled", _garble, REJECTED, "corrupt"),
    PlantedFault("not_an_image", _write_no_image, REJECTED, "not_an_image"),
    PlantedFault("empty", _write_nothing, REJECTED, "empty"),
    PlantedFault("decompression_bomb", _write_bomb, REJECTED, "too_many_pixels", extension="png"),
    PlantedFault("tiny", _shrink, REJECTED, "too_small"),
    PlantedFault("blurred", _blur, REJECTED, "blurry"),
    PlantedFault("flat", _flatten, REJECTED, "flat"),
    PlantedFault("wrong_extension", _as_png, KEPT),
    PlantedFault("cmyk", _as_cmyk, KEPT),
    PlantedFault("sixteen_bit", _as_sixteen_bit, KEPT, extension="png"),
    PlantedFault("palette", _as_palette, KEPT, extension="png"),
    PlantedFault("exif_turned", _turn, KEPT),
)
PLANTED_FAULTS = {fault.name: fault for fault in COPIES + CONFLICTS + OWN_PHOTO}
