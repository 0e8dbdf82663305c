"""The accuracy in the log of a training is that of the protocol on 1,000 pairs of the val split in two folds."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines import manifest
from training.comm.local import LocalComm
from training.evaluate.embed import embed
from training.evaluate.val_pairs import load_val_pairs
from training.evaluate.verification import verify
from training.feed.location import Location
from training.feed.settings import DecodeSettings
from training.tasks import validation
from training.tasks.settings import SetSettings, ValPairs
from training.tasks.task import Task, TaskContext, build_task
from training.tasks.validation import build_validation
from training.testing.threads import run_threads

DECODE = DecodeSettings(size_px=8, crop=0.5, fit="stretch")


@pytest.fixture
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16)).train()


def test_the_accuracy_is_that_of_the_protocol_on_any_number_of_ranks(held_out: Path, backbone: nn.Module) -> None:
    dataset = Location(held_out)
    pairs = load_val_pairs(dataset, num_pairs=1000, folds=2, seed=0)
    features = embed(backbone, pairs.pictures, LocalComm(), decode=DECODE, batch_size=128)
    wanted = verify(pairs, features, fars=()).accuracy
    assert 0.5 < wanted < 1
    assert build_validation(dataset, DECODE)(backbone, LocalComm()) == {"val_accuracy": wanted}
    assert backbone.training
    found = run_threads(2, lambda comm: build_validation(dataset, DECODE)(copy.deepcopy(backbone), comm))
    assert [one["val_accuracy"] for one in found] == pytest.approx([wanted, wanted])


def test_a_thousand_pairs_are_drawn_in_two_folds_and_shown_as_in_training(
    held_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SetSettings] = []

    def build(settings: SetSettings, context: TaskContext) -> Task:
        asked.append(settings)
        return build_task(settings, context)

    monkeypatch.setattr(validation, "build_task", build)
    build_validation(Location(held_out), DECODE)
    assert asked == [ValPairs(num_pairs=1000, folds=2, seed=0, crop=0.5, fit="stretch")]


def test_two_people_held_out_are_enough(held_out: Path, backbone: nn.Module) -> None:
    written = manifest.read(held_out)
    facts = {"splits": {"val": {"classes": 2, "rows": 60}}}
    manifest.write(held_out, written.model_copy(update={"facts": facts}))
    assert build_validation(Location(held_out), DECODE)(backbone, LocalComm()).keys() == {"val_accuracy"}


@pytest.mark.parametrize("splits", [{"train": {"classes": 9, "rows": 9}}, {"val": {"classes": 1, "rows": 5}}])
def test_without_two_people_held_out_there_is_nothing_to_log(
    tmp_path: Path, backbone: nn.Module, splits: dict[str, dict[str, int]]
) -> None:
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}, "files": ()}
    manifest.write(tmp_path, manifest.Manifest(kind="dataset", fingerprint="d", facts={"splits": splits}, **content))
    assert build_validation(Location(tmp_path), DECODE)(backbone, LocalComm()) == {}
