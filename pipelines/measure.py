"""Measurements and hashes of pictures, for cleaning and the search for duplicates (pure, batched, no Spark)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import records
from pipelines.arrays import Float32Array, UInt8Array
from pipelines.decode_faults import DecodeError
from pipelines.faces import FaceDetector
from pipelines.guard import guarded_decode
from pipelines.hashing import perceptual_hashes, thumbnails, to_hash_input
from pipelines.pixels import Decoded
from pipelines.settings import PixelSettings

# Blur is measured at one scale, so that a thumbnail and its original get similar values.
BLUR_SIDE_PX = 256

# Larger stacks do not fit the processor's cache: with 128 at once the quality takes 1.4 times as long.
_HASHED_AT_ONCE = 32

_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Measurement:
    """The measurements of one picture; the field names are columns of `records.MEASUREMENTS`."""

    blur: float  # variance of the Laplacian
    brightness: float  # mean grey level, 0..255
    contrast: float  # standard deviation of the grey levels
    entropy: float  # bits, 0..8
    dominance: float  # share of the pixels in the fullest band of three grey levels, 0..1


def examine(images: Sequence[bytes], settings: PixelSettings, faces: FaceDetector | None = None) -> pa.RecordBatch:
    """Decode, measure and hash a batch: one row of `records.MEASUREMENTS` per image, in order.

    No content raises an error: the row of a picture that cannot be decoded has the fault, and null in other columns.

    Args:
        faces: detects faces; without it their columns are null.
    """
    hash_inputs: list[Float32Array] = []
    rows = [_examine_one(image, settings, faces, hash_inputs) for image in images]
    good = [row for row in rows if row["decode"] == records.DECODE_OK]
    for start in range(0, len(good), _HASHED_AT_ONCE):
        chunk = slice(start, start + _HASHED_AT_ONCE)
        _add_hashes(good[chunk], hash_inputs[chunk])
    return pa.RecordBatch.from_pylist(rows, schema=records.MEASUREMENTS)


def measure(grey: UInt8Array) -> Measurement:
    """Measure a grey picture (H, W)."""
    mean, deviation = cv2.meanStdDev(grey)
    histogram = cv2.calcHist([grey], [0], None, [256], [0, 256])[:, 0]
    shares = histogram[histogram > 0].astype(np.float64) / grey.size
    return Measurement(
        blur=blur(grey),
        brightness=float(mean[0, 0]),
        contrast=float(deviation[0, 0]),
        entropy=abs(float(shares @ np.log2(shares))),
        # Three levels, since JPEG changes a flat area by up to one level.
        dominance=float((histogram[:-2] + histogram[1:-1] + histogram[2:]).max()) / grey.size,
    )


def blur(grey: UInt8Array) -> float:
    """Variance of the Laplacian (Pech-Pacheco, ICPR 2000) of a picture (H, W) shrunk to at most 256 px a side."""
    longest = max(grey.shape)
    small: NDArray[Any] = grey
    if longest > BLUR_SIDE_PX:
        height, width = (max(1, round(side * BLUR_SIDE_PX / longest)) for side in grey.shape)
        small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    # 16 bits hold every value (-1,020 to 1,020) and take a third of the time of floats. Both sums are of integers below
    # 2^53, so they are exact: the same as cv2.meanStdDev, in less time.
    laplacian = cv2.Laplacian(small, cv2.CV_16S)
    values = laplacian.ravel().astype(np.float64)
    mean = cv2.sumElems(laplacian)[0] / values.size
    return max(0.0, float(values @ values) / values.size - mean * mean)


def pixel_digest(decoded: Decoded) -> bytes:
    """A digest (16 bytes) of mode, size and every upright pixel, equal for equal pictures in any file format."""
    height, width, _ = decoded.rgb.shape
    digest = hashlib.sha256(f"{decoded.mode} {width} {height} ".encode())
    digest.update(np.ascontiguousarray(decoded.rgb).data)
    return digest.digest()[:_DIGEST_BYTES]


def to_grey(rgb: UInt8Array) -> UInt8Array:
    """Convert RGB (H, W, 3) to grey (H, W), with the weights of ITU-R BT.601."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def _examine_one(
    image: bytes, settings: PixelSettings, faces: FaceDetector | None, hash_inputs: list[Float32Array]
) -> dict[str, Any]:
    try:
        decoded = guarded_decode(image, settings)
    except DecodeError as error:
        return {"num_bytes": len(image), "decode": error.fault}
    grey = to_grey(decoded.rgb)
    hash_inputs.append(to_hash_input(grey))
    row = {"num_bytes": len(image), "decode": records.DECODE_OK, **_facts(decoded), **vars(measure(grey))}
    row[records.PIXEL_DIGEST] = pixel_digest(decoded)
    return row if faces is None else row | _faces(decoded.rgb, faces)


def _add_hashes(rows: list[dict[str, Any]], hash_inputs: list[Float32Array]) -> None:
    greys = np.stack(hash_inputs)
    hashes = perceptual_hashes(greys)
    columns = (hashes.plain, hashes.flipped, hashes.quality, thumbnails(greys))
    for row, plain, flipped, quality, thumbnail in zip(rows, *columns, strict=True):
        row |= {records.HASH: plain.tobytes(), records.HASH_FLIPPED: flipped.tobytes(), "hash_quality": float(quality)}
        row[records.THUMBNAIL] = thumbnail.tobytes()


def _faces(rgb: UInt8Array, detector: FaceDetector) -> dict[str, Any]:
    faces = detector.detect(rgb)
    row: dict[str, Any] = {records.NUM_FACES: faces.count}
    if faces.main is not None:
        row |= {
            records.FACE_BOX: faces.main.box,
            records.FACE_SCORE: faces.main.score,
            records.FACE_LANDMARKS: faces.main.landmarks,
        }
    return row


def _facts(decoded: Decoded) -> dict[str, Any]:
    names = ("format", "width", "height", "mode", "orientation", "warnings")
    return {name: getattr(decoded, name) for name in names}
