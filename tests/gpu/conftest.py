"""What the checks of a GPU share: the device, drawn faces, settings without Spark, and the figures told at the end.

Where there is no GPU the same tests run on the CPU, in small. They need neither Spark nor Horovod, nor that the project
is installed.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jobs.settings import RunSettings, compose
from pipelines import manifest, records
from pipelines.columns import DATASET
from training.feed.plans.identities import LABELS_NAME

Figures = dict[str, Any]

IDENTITIES_PER_GROUP = 2
COARSE_PX = 7  # side of the pattern of an identity, which is blown up to the size of the picture
JITTER = 25.0  # grey levels, by which photos of one identity differ

_FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The first GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def without_tf32() -> Iterator[None]:
    """All of float32: TF32 rounds the factors of a product to ten bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(scope="session")
def write_faces(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a dataset of the layout `identity` without Spark, once for each size."""
    written: dict[tuple[int, int, int], Path] = {}

    def write(*, identities: int, photos: int, side_px: int) -> Path:
        key = identities, photos, side_px
        if key not in written:
            folder = tmp_path_factory.mktemp("store") / "dataset" / "0123456789abcdef"
            _write_dataset(folder, *key)
            written[key] = folder
        return written[key]

    return write


def _write_dataset(folder: Path, identities: int, photos: int, side_px: int) -> None:
    path = folder / "train" / "00000.parquet"
    path.parent.mkdir(parents=True)
    groups = []
    with pq.ParquetWriter(path, DATASET, compression="none", use_dictionary=False) as writer:
        for first in range(0, identities, IDENTITIES_PER_GROUP):
            members = range(first, min(first + IDENTITIES_PER_GROUP, identities))
            images = [(label, jpeg) for label in members for jpeg in _photos(label, photos, side_px)]
            columns = [
                [hashlib.sha256(jpeg).hexdigest() for _, jpeg in images],
                [label for label, _ in images],
                [jpeg for _, jpeg in images],
                [zlib.crc32(jpeg) for _, jpeg in images],
            ]
            writer.write_table(pa.table(columns, schema=DATASET), row_group_size=len(images))
            groups.append(manifest.RowGroup(rows=len(images), num_bytes=0))
    places = [
        ("train", label, str(label), photos, *divmod(photos * label, photos * IDENTITIES_PER_GROUP))
        for label in range(identities)
    ]
    pq.write_table(pa.table(list(zip(*places, strict=True)), schema=records.LABELS), folder / LABELS_NAME)
    rows = identities * photos
    manifest.write(
        folder,
        manifest.Manifest(
            kind="dataset",
            fingerprint=folder.name,
            parents={},
            settings={},
            code_version="",
            counts={},
            files=(
                manifest.describe(folder, path, rows=rows, row_groups=tuple(groups)),
                manifest.describe(folder, folder / LABELS_NAME, rows=identities),
            ),
            facts={"splits": {"train": {"classes": identities, "rows": rows}}},
        ),
    )  # fmt: skip


def _photos(label: int, photos: int, side_px: int) -> Iterator[bytes]:
    drawn = np.random.default_rng(label)
    pattern = drawn.uniform(40, 215, (COARSE_PX, COARSE_PX, 3))
    for _ in range(photos):
        changed = np.clip(pattern + drawn.normal(0, JITTER, pattern.shape), 0, 255).astype(np.uint8)
        picture = cv2.resize(changed, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


@pytest.fixture(scope="session")
def run_settings() -> Callable[..., RunSettings]:
    """The settings that conf/ and a command line make together."""

    return lambda *overrides: compose(["source.path=/nowhere", "place=single", *overrides])


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """The measured figures by name, printed at the end of the session."""
    return request.config.stash.setdefault(_FIGURES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line of JSON, also in $OUT/gpu.json; a CPU in small has nothing to tell unless it is asked for."""
    measured, out = config.stash.get(_FIGURES, {}), os.environ.get("OUT")
    if not measured or not (out or torch.cuda.is_available()):
        return
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    line = json.dumps({"card": card, "torch": torch.__version__, **measured})
    terminalreporter.write_sep("=", "figures")
    terminalreporter.write_line(line)
    if out:
        (Path(out) / "gpu.json").write_text(line + "\n")
