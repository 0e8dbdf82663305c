import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.entry import run_job
from jobs.export import export_model
from jobs.settings import RunSettings, freeze
from jobs.stages import Stage
from pipelines.embedder import exported, read_embedder
from pipelines.manifest import Manifest, describe, read, verify, write
from pipelines.sources.settings import FolderSettings
from training.feed.settings import DecodeSettings
from training.model_file import ModelCard, write_model
from training.models.backbones import build_backbone, normalise
from training.models.settings import ModelSettings

STAGES = (
    Stage("train", "model", (), (), launcher="ranks", job="jobs.train"),
    Stage("export", "onnx", ("model",), (), launcher="local", job="jobs.export"),
)


@pytest.fixture
def backbone() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_backbone(ModelSettings(name="mobilefacenet", width=0.25, input_size_px=32)).eval()


@pytest.fixture
def artefact(tmp_path: Path, backbone: torch.nn.Module) -> Path:
    """Of the job, after a model was left for it."""
    model = tmp_path / "store" / "model" / "m"
    model.mkdir(parents=True)
    card = ModelCard(
        model=ModelSettings(name="mobilefacenet", width=0.25, input_size_px=32),
        decode=DecodeSettings(size_px=32, crop=0.75, fit="stretch"),
        dataset="d",
        num_classes=3,
        num_steps=1,
    )
    files = [describe(model, path) for path in write_model(model, backbone, card)]
    write(
        model,
        Manifest(
            kind="model", fingerprint="m", parents={}, settings={}, code_version="", counts={}, files=tuple(files)
        ),
    )
    settings = RunSettings(
        source=FolderSettings(path="/nowhere"),
        name="r",
        store=tmp_path / "store",
        runs=tmp_path / "runs",
        fingerprints={"train": "m", "export": "e"},
    )
    freeze(settings, settings.folder / "run.yaml")
    argv = ["--run", str(settings.folder / "run.yaml")]
    assert run_job("export", export_model, argv=argv, stages=STAGES) == 0
    return tmp_path / "store" / "onnx" / "e"


def test_the_exported_model_is_shown_pictures_as_in_training(artefact: Path, backbone: torch.nn.Module) -> None:
    embedder = read_embedder(exported(artefact, batch_size=4))
    settings = embedder.settings
    assert (embedder.size_px, settings.crop, settings.fit, settings.mirror) == (32, 0.75, "stretch", True)
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    images = normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    with torch.no_grad():
        features = backbone(images) + backbone(images.flip(-1))
    wanted = torch.nn.functional.normalize(features).numpy()
    np.testing.assert_allclose(embedder.embed(list(pictures)), wanted, atol=1e-4)


def test_the_manifest_lists_both_files_and_how_far_off_they_are(artefact: Path) -> None:
    verify(artefact)
    manifest = read(artefact)
    assert {file.path for file in manifest.files} == {"model.onnx", "embedder.json"}
    assert manifest.facts["max_difference"] <= 1e-4 * manifest.facts["max_feature"]
    assert json.loads((artefact / "embedder.json").read_text())["channels"] == "rgb"
