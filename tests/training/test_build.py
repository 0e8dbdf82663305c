"""The one assembly: the same weights from the same seed, and no training on the wrong dataset."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipelines import manifest
from pipelines.settings import UserError
from training.build import Builder, num_classes_of
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.models.backbones import build_backbone
from training.objectives.centres import ClassCentres
from training.settings import TrainingSettings


def write_dataset(folder: Path, *, fingerprint: str, classes: int = 7) -> Path:
    folder.mkdir(parents=True)
    found = manifest.Manifest(
        kind="dataset",
        fingerprint=fingerprint,
        parents={},
        settings={},
        code_version="",
        counts={},
        files=(),
        facts={"splits": {"train": {"classes": classes, "rows": 70}}},
    )
    manifest.write(folder, found)
    return folder


def fed_from(place: Path | None) -> TrainingSettings:
    return TrainingSettings.model_validate({"feed": {"location": None if place is None else str(place)}})


def test_a_dataset_elsewhere_must_be_the_one_of_the_run(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "store" / "dataset" / "aa11", fingerprint="aa11")
    copied = shutil.copytree(dataset, tmp_path / "copy")
    other = write_dataset(tmp_path / "other", fingerprint="bb22")
    assert num_classes_of(fed_from(None), dataset) == 7
    assert num_classes_of(fed_from(copied), dataset) == 7
    with pytest.raises(UserError, match=rf"^feed\.location={other} holds dataset bb22, and this run trains on aa11; "):
        num_classes_of(fed_from(other), dataset)


def test_one_identity_is_too_few_to_train_on(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "aa11", fingerprint="aa11", classes=1)
    with pytest.raises(UserError, match=r"has 1 identity to train on and at least 2 are needed; .*val_fraction=0$"):
        num_classes_of(fed_from(None), dataset)


def builder_of(objective: dict[str, object], num_classes: int = 5) -> Builder:
    settings = TrainingSettings.model_validate({"objective": objective, "model": {"name": "iresnet10", "width": 0.125}})
    return Builder(settings, Topology.of(LocalComm()), torch.device("cpu"), num_classes)


def test_the_objective_draws_its_centres_where_the_backbone_left_the_generator() -> None:
    builder = builder_of({"name": "softmax"})
    torch.manual_seed(3)
    objective = builder.build_objective(build_backbone(builder.settings.model))
    torch.manual_seed(3)
    build_backbone(builder.settings.model)
    assert torch.equal(objective.get_parameter("centres.weight_CD"), ClassCentres(5, 512).weight_CD)


def test_the_strategy_clips_as_the_optimiser_says() -> None:
    recipe = {"optimiser": {"momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.25}, "precision": "fp32"}
    settings = TrainingSettings.model_validate({"objective": {"name": "softmax"}, "recipe": recipe})
    builder = Builder(settings, Topology.of(LocalComm()), torch.device("cpu"), 5)
    backbone = torch.nn.Linear(3, 512)
    objective = builder.build_objective(backbone)
    parts = builder.assemble(backbone, objective, SimpleNamespace(steps_per_epoch=1))
    before = torch.cat([p.detach().flatten() for p in [*backbone.parameters(), *objective.parameters()]])
    features, labels = 100 * torch.randn(4, 3), torch.arange(4)
    result = parts.strategy.advance(lambda: None, lambda _: objective.loss(backbone(features), labels), 2.0)
    after = torch.cat([p.detach().flatten() for p in [*backbone.parameters(), *objective.parameters()]])
    assert result.grad_norm > 0.25
    assert (after - before).norm().item() == pytest.approx(2.0 * 0.25, rel=1e-4)


def test_settings_that_do_not_go_together_are_refused_before_anything_is_drawn() -> None:
    builder = builder_of({"name": "class_pool", "pool": {"slots": 700}})
    with pytest.raises(UserError, match=r"^objective\.pool\.slots=700 cannot hold the 768 pictures"):
        builder.build_objective(torch.nn.Identity())
