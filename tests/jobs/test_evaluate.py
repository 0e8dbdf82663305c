"""The job that judges: its result is written, and told in one line, whatever can be measured."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.entry import run_job
from jobs.evaluate import evaluate_model
from jobs.places.settings import SingleSettings
from jobs.rounds import evaluation_sets
from jobs.settings import RunSettings, freeze
from jobs.stages import Stage
from pipelines.manifest import Manifest, describe, read, write
from pipelines.sources.settings import FolderSettings
from training.tasks.result import Result
from training.tasks.settings import EvaluateSettings

STAGES = (
    Stage("shard", "dataset", (), (), launcher="spark", job="jobs.shard"),
    Stage("train", "model", (), (), launcher="ranks", job="jobs.train"),
    Stage("evaluate", "evaluation", ("dataset", "model"), (), "ranks", "jobs.evaluate", instances=evaluation_sets),
)
WritePack = Callable[[Path, list[bool]], None]
Judge = Callable[[list[bool]], tuple[int, Path]]


def _finish(folder: Path, kind: str, paths: list[Path]) -> None:
    files = tuple(describe(folder, path) for path in paths)
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}}
    write(folder, Manifest(kind=kind, fingerprint=folder.name, files=files, **content))


@pytest.fixture
def judge(tmp_path: Path, tiny_model: Path, write_pack: WritePack) -> Judge:
    """Run the job on a pack of given pairs; its exit code and the folder of its artefact."""

    def job(is_same: list[bool]) -> tuple[int, Path]:
        write_pack(tmp_path / "pairs.bin", is_same)
        store = tmp_path / "store"
        _finish(tiny_model, "model", list(tiny_model.iterdir()))
        (store / "dataset" / "d").mkdir(parents=True)
        _finish(store / "dataset" / "d", "dataset", [])
        lfw = {"pairs": "bin", "path": str(tmp_path / "pairs.bin"), "folds": 2, "fars": [0.1]}
        settings = RunSettings(
            name="r",
            store=store,
            runs=tmp_path / "runs",
            place=SingleSettings(),
            source=FolderSettings(path="/faces"),
            evaluate=EvaluateSettings.model_validate({"sets": {"lfw": lfw}}),
            fingerprints={"shard": "d", "train": "m", "evaluate.lfw": "e"},
        )
        freeze(settings, settings.folder / "run.yaml")
        argv = ["--run", str(settings.folder / "run.yaml")]
        return run_job("evaluate", evaluate_model, argv=argv, stages=STAGES), store / "evaluation" / "e"

    return job


def _summary(tmp_path: Path) -> str:
    return str(json.loads((tmp_path / "runs/r/logs/evaluate.lfw.progress").read_text())["text"])


def test_the_result_is_written_and_told(judge: Judge, tmp_path: Path) -> None:
    code, folder = judge([True, False] * 4)
    assert code == 0
    result = Result.model_validate_json((folder / "result.json").read_bytes())
    # The same picture twice has cosine 1, whatever the model.
    assert (result.value("accuracy"), result.value("auc")) == (1.0, 1.0)
    assert read(folder).counts == {"pairs": 8, "same_pairs": 4}
    assert _summary(tmp_path) == "accuracy 100.00 % ± 0.00 %, area under ROC 1.0000"


def test_a_set_of_pairs_of_one_kind_is_judged_without_an_area(judge: Judge, tmp_path: Path) -> None:
    code, folder = judge([True] * 8)
    assert code == 0
    result = Result.model_validate_json((folder / "result.json").read_bytes())
    assert (result.value("accuracy") is not None, result.value("auc")) == (True, None)
    assert _summary(tmp_path).endswith("area under ROC not measurable")


def test_a_mistake_in_a_set_is_told_with_its_name(judge: Judge, tmp_path: Path) -> None:
    code, _ = judge([True])
    assert code == 2
    line = json.loads((tmp_path / "runs/r/logs/evaluate.lfw.fault").read_text())["line"]
    assert line == f"evaluate.sets.lfw: {tmp_path}/pairs.bin has 1 pairs for 2 folds; set folds to at most 1"
