"""What the training job asks of its dataset before it builds anything."""

import logging
import shutil
from pathlib import Path

import pytest

from jobs.entry import JobContext
from jobs.settings import RunSettings, compose
from jobs.stages import STAGES
from jobs.train import _num_classes
from pipelines import manifest
from pipelines.settings import UserError


def write_dataset(folder: Path, *, fingerprint: str) -> Path:
    folder.mkdir(parents=True)
    found = manifest.Manifest(
        kind="dataset",
        fingerprint=fingerprint,
        parents={},
        settings={},
        code_version="",
        counts={},
        files=(),
        facts={"splits": {"train": {"classes": 7, "rows": 70}}},
    )
    manifest.write(folder, found)
    return folder


def context(settings: RunSettings, dataset: Path) -> JobContext:
    return JobContext(
        settings=settings,
        stage=next(stage for stage in STAGES if stage.name == "train"),
        folder=dataset.parent / "model",
        parents={"shard": dataset},
        earlier=[],
        run_folder=dataset.parent,
        rank=0,
        progress=lambda done, total, text: None,
        log=logging.getLogger(__name__),
    )


def test_a_dataset_elsewhere_must_be_the_one_of_the_run(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "store" / "dataset" / "aa11", fingerprint="aa11")
    copied = shutil.copytree(dataset, tmp_path / "copy")
    other = write_dataset(tmp_path / "other", fingerprint="bb22")
    run = ["source.path=/faces", f"store={tmp_path / 'store'}", f"runs={tmp_path / 'runs'}"]
    assert _num_classes(context(compose(run), dataset)) == 7
    assert _num_classes(context(compose([*run, f"feed.location={copied}"]), dataset)) == 7
    with pytest.raises(UserError, match=rf"^feed\.location={other} holds dataset bb22, and this run trains on aa11; "):
        _num_classes(context(compose([*run, f"feed.location={other}"]), dataset))
