"""The pictures that all are fed: faces of 112x112 px and photos of 500x400 px, as files and as a dataset of ours.

Drawing 50,000 people would take longer than all the rest, so each drawn photo is shown in several cuts, mirrored or
not, each with grain of its own: no two files are alike.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from pipelines import manifest, records
from pipelines.columns import DATASET
from pipelines.parquet import FILE, write_runs
from pipelines.sample.album import draw_album
from pipelines.settings import ShardSettings

DRAWN_PX = 256
PHOTOS_PER_PERSON = 10
GRAIN = 4.0  # grey levels
QUALITY = 90


@dataclass(frozen=True)
class PictureSet:
    """One kind of pictures."""

    name: str
    width_px: int
    height_px: int
    side_px: int  # of the square that is fed
    rows_per_group: int
    cuts: int  # made of one drawn photo


FACES = PictureSet("faces", 112, 112, side_px=112, rows_per_group=ShardSettings().rows_per_group, cuts=20)
# Row groups of about as many bytes as those of faces.
PHOTOS = PictureSet("photos", 500, 400, side_px=224, rows_per_group=64, cuts=5)


def prepare(folder: Path, kind: PictureSet, count: int) -> None:
    """Draw a set into `jpegs/` and write it as a dataset into `ours/`, unless it is there."""
    if (folder / "ours" / "manifest.json").exists():
        return
    files = folder / "jpegs"
    files.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(drawn(kind, count)):
        (files / f"{number:06d}.jpg").write_bytes(data)
    write_dataset(folder / "ours", (path.read_bytes() for path in sorted(files.iterdir())), kind.rows_per_group)


def drawn(kind: PictureSet, count: int) -> Iterator[bytes]:
    """JPEGs, the same for the same arguments."""
    rng = np.random.default_rng(count)
    per_person = PHOTOS_PER_PERSON * kind.cuts
    for person in range(-(-count // per_person)):
        album = draw_album(0, person, PHOTOS_PER_PERSON, size_px=(DRAWN_PX, DRAWN_PX))
        for number in range(min(per_person, count - person * per_person)):
            picture = cut(album[number // kind.cuts][0], kind, rng)
            yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def cut(picture: np.ndarray, kind: PictureSet, rng: np.random.Generator) -> np.ndarray:
    """A random part of a drawn picture at the size of the set, with fresh grain."""
    height = rng.integers(DRAWN_PX // 2, DRAWN_PX * kind.height_px // kind.width_px + 1)
    width = height * kind.width_px // kind.height_px
    top, left = rng.integers(0, DRAWN_PX - height + 1), rng.integers(0, DRAWN_PX - width + 1)
    part = picture[top : top + height, left : left + width, :: rng.choice([-1, 1])]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    resized = cv2.resize(np.ascontiguousarray(part), (kind.width_px, kind.height_px), interpolation=cv2.INTER_AREA)
    grain = rng.normal(0.0, GRAIN, resized.shape[:2])[..., None]
    return np.clip(resized + grain, 0, 255).astype(np.uint8)


def write_dataset(folder: Path, images: Iterable[bytes], rows_per_group: int) -> None:
    """One split `train`, by the project's own writer."""
    rows_per_file = ShardSettings().rows_per_file
    files = tuple(write_runs(_batches(images, rows_per_file), folder, schema=DATASET, rows_per_group=rows_per_group))
    found = manifest.Manifest(
        kind="dataset", fingerprint="0" * 16, parents={}, settings={}, code_version="", counts={}, files=files
    )
    manifest.write(folder, found)


def _batches(images: Iterable[bytes], rows_per_file: int) -> Iterator[pa.RecordBatch]:
    for number, data in enumerate(images):
        columns = {
            # Not of the bytes alone, since the set of the memory test shows pictures more than once.
            records.IMAGE_ID: [hashlib.sha256(data + number.to_bytes(8, "little")).hexdigest()],
            records.LABEL: [number % 1000],
            records.IMAGE: [data],
            records.DIGEST: [zlib.crc32(data)],
            FILE: [f"train/{number // rows_per_file:06d}"],
        }
        schema = DATASET.append(pa.field(FILE, pa.string()))
        yield pa.RecordBatch.from_pydict(columns, schema=schema)
