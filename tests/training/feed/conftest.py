"""Small datasets on disk: drawn pictures in shards of chosen row groups, and their manifest."""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import manifest, records

SIDE_PX = 16

WriteDataset = Callable[..., "Dataset"]


@dataclass(frozen=True)
class Dataset:
    """A written dataset and what went into it, in file order."""

    folder: Path
    image_ids: list[str]
    labels: dict[str, int]
    images: dict[str, bytes]


@pytest.fixture
def write_dataset(tmp_path: Path) -> WriteDataset:
    def write(layout: Sequence[Sequence[int]], *, side_px: int = SIDE_PX) -> Dataset:
        """One shard for each sequence of row-group sizes."""
        pictures = [drawn(number, side_px) for number in range(sum(map(sum, layout)))]
        ids = [hashlib.sha256(data).hexdigest() for data in pictures]
        folder = tmp_path / "dataset"
        (folder / "train").mkdir(parents=True)
        files, start = [], 0
        for number, groups in enumerate(layout):
            rows = range(start, start + sum(groups))
            path = folder / "train" / f"{number:05d}.parquet"
            _write_shard(path, groups, [(ids[row], row, pictures[row]) for row in rows])
            row_groups = tuple(manifest.RowGroup(rows=count, num_bytes=0) for count in groups)
            files.append(manifest.describe(folder, path, rows=len(rows), row_groups=row_groups))
            start = rows.stop
        write_manifest(folder, tuple(files))
        labels = {image_id: row for row, image_id in enumerate(ids)}
        return Dataset(folder, ids, labels, dict(zip(ids, pictures, strict=True)))

    return write


def drawn(number: int, side_px: int) -> bytes:
    """A JPEG that no other number gives."""
    noise = np.random.default_rng(number).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def write_manifest(folder: Path, files: tuple[manifest.File, ...]) -> None:
    found = manifest.Manifest(
        kind="dataset", fingerprint="0" * 16, parents={}, settings={}, code_version="", counts={}, files=files
    )
    manifest.write(folder, found)


def _write_shard(path: Path, groups: Sequence[int], rows: list[tuple[str, int, bytes]]) -> None:
    with pq.ParquetWriter(path, records.DATASET, compression="none", use_dictionary=False) as writer:
        start = 0
        for count in groups:
            part = rows[start : start + count]
            columns = [
                [image_id for image_id, _, _ in part],
                [label for _, label, _ in part],
                [data for _, _, data in part],
                [zlib.crc32(data) for _, _, data in part],
            ]
            writer.write_table(pa.table(columns, schema=records.DATASET), row_group_size=max(1, count))
            start += count
