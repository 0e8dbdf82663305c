"""The job that takes in references: all of them in one table, under the names of their files, and none passed over."""

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import reference
from jobs.entry import run_job
from jobs.settings import RunSettings, freeze
from pipelines.manifest import read
from pipelines.sources.settings import FolderSettings, ReferenceSettings
from training.tasks.settings import EvaluateSettings, ListedPairs

pytestmark = pytest.mark.spark

MARK = "0123456789abcdef"
Run = Callable[..., tuple[int, Path]]


@pytest.fixture(autouse=True)
def session(share_session: Callable[..., None]) -> None:
    share_session(reference)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the job; its exit code and the folder of its artefact."""

    def job(sources: list[dict[str, Any]], *, evaluate: Path | None = None) -> tuple[int, Path]:
        settings = RunSettings(
            name="r",
            store=tmp_path / "store",
            runs=tmp_path / "runs",
            source=FolderSettings(path="/nowhere"),
            reference=ReferenceSettings.model_validate({"sources": sources}),
            evaluate=EvaluateSettings(sets={"lfw": ListedPairs(path=evaluate)} if evaluate else {}),
            fingerprints={"reference": MARK},
        )
        freeze(settings, settings.folder / "run.yaml")
        code = run_job("reference", reference.ingest_references, argv=["--run", str(settings.folder / "run.yaml")])
        return code, settings.store / "references" / MARK

    return job


def pictures(folder: Path, seed: int, count: int) -> list[str]:
    """Write some, and return the digests of their bytes."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    digests = []
    for number in range(count):
        data = cv2.imencode(".jpg", rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))[1].tobytes()
        (folder / f"{number}.jpg").write_bytes(data)
        digests.append(hashlib.sha256(data).hexdigest())
    return digests


def test_folders_and_the_archive_of_the_evaluation_become_one_table(run: Run, tmp_path: Path) -> None:
    held_out, judged = pictures(tmp_path / "held out", 1, 5), pictures(tmp_path / "judged", 2, 7)
    with tarfile.open(tmp_path / "pairs.tar", "w") as archive:
        archive.add(tmp_path / "judged", "judged")
    code, folder = run([{"kind": "folder", "path": str(tmp_path / "held out")}], evaluate=tmp_path / "pairs.tar")
    assert code == 0
    made = read(folder)
    assert made.counts == {"rows": 12}
    rows = [row for file in made.files for row in pq.read_table(folder / file.path).to_pylist()]
    assert {row["image_id"] for row in rows} == {*held_out, *judged}
    assert len({file.path for file in made.files}) == len(made.files) == 2


def test_a_reference_without_a_picture_is_the_users_mistake(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    code, _ = run([{"kind": "folder", "path": str(tmp_path / "nothing")}])
    assert code == 2
    line = json.loads((tmp_path / "runs/r/logs/reference.fault").read_text())["line"]
    assert f"{tmp_path / 'nothing'} holds no image to keep out of training" in line
