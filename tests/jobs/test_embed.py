"""The job that embeds: references for which the model has no vector would protect nothing by embeddings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs import embed, ingest, reference
from jobs.entry import run_job
from jobs.settings import RunSettings, freeze
from pipelines.manifest import read
from pipelines.settings import EmbedSettings
from pipelines.sources.settings import FolderSettings, ReferenceSettings

pytestmark = pytest.mark.spark

SIDE = 8


@pytest.fixture
def embedded(
    spark: SparkSession, share_session: Callable[..., None], write_onnx: Callable[..., Path], tmp_path: Path
) -> Callable[[np.ndarray[Any, Any]], tuple[int, Path]]:
    """Run the stages up to the embeddings with a model of such weights; the exit code of the last, and its folder."""
    import cv2

    share_session(embed, ingest, reference)
    for name in ("faces", "held_out"):
        (tmp_path / name / "a").mkdir(parents=True)
        for place in range(3):
            pixels = np.random.default_rng(place + len(name)).integers(0, 256, (40, 40, 3), np.uint8)
            cv2.imwrite(str(tmp_path / name / "a" / f"{place}.png"), pixels)

    def run(weights: np.ndarray[Any, Any]) -> tuple[int, Path]:
        settings = RunSettings(
            name="r",
            store=tmp_path / "store",
            runs=tmp_path / "runs",
            source=FolderSettings(path=str(tmp_path / "faces")),
            reference=ReferenceSettings(sources=(FolderSettings(path=str(tmp_path / "held_out")),)),
            embed=EmbedSettings(model=write_onnx(tmp_path / "m.onnx", weights, ("N", 3, SIDE, SIDE))),
            fingerprints={name: name for name in ("ingest", "reference", "embed")},
        )
        path = settings.folder / "run.yaml"
        freeze(settings, path)
        jobs = {"ingest": ingest.ingest_source, "reference": reference.ingest_references, "embed": embed.embed_pictures}
        codes = [run_job(name, work, argv=["--run", str(path)]) for name, work in jobs.items()]
        assert codes[:2] == [0, 0]
        return codes[2], settings.store / "embeddings" / "embed"

    return run


def test_pictures_of_records_and_references_are_embedded(embedded: Callable[..., tuple[int, Path]]) -> None:
    code, folder = embedded(np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, 4)).astype(np.float32))
    assert code == 0
    assert read(folder).counts == {"rows": 6, "pictures": 6, "undecodable": 0}


def test_a_model_without_a_vector_for_references_is_refused(
    embedded: Callable[..., tuple[int, Path]], tmp_path: Path
) -> None:
    code, folder = embedded(np.full((3 * SIDE * SIDE, 4), np.nan, np.float32))
    assert (code, (folder / "manifest.json").exists()) == (2, False)
    line = json.loads((tmp_path / "runs/r/logs/embed.fault").read_text())["line"]
    assert line.startswith("the embedding model gives no vector for 3 of 3 pictures that must not be trained on")
