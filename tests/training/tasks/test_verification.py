"""Pairs whose pictures show their person by their colour, and a backbone that sees colour, must be judged perfect."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import auc, roc_auc_score
from torch import Tensor, nn

from pipelines.settings import UserError
from training.comm.local import LocalComm
from training.evaluate.pairs import PairSet, contiguous_folds, held
from training.evaluate.verification import VerificationResult, verify
from training.tasks.result import Result
from training.tasks.settings import TASKS
from training.tasks.task import TaskContext, build_task
from training.tasks.verification import as_result
from training.testing.threads import run_threads

RED, BLUE = (220, 40, 40), (40, 40, 220)


class _MeanColour(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images.mean((2, 3))


def _picture(colour: tuple[int, int, int], seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-20, 20, (24, 20, 3))
    stream = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _pack(folder: Path, is_same: list[bool]) -> Path:
    images = []
    for place, same in enumerate(is_same):
        images += [_picture(RED, 2 * place), _picture(RED if same else BLUE, 2 * place + 1)]
    path = folder / "colours.bin"
    path.write_bytes(pickle.dumps((images, is_same)))
    return path


def _judge(path: Path, comm: Any = None, **values: Any) -> Result:
    settings = TASKS.validate({"pairs": "bin", "path": str(path), "folds": 5, **values})
    task = build_task(settings, TaskContext(size_px=16, batch_size=7, dataset=None))
    return task.run(_MeanColour(), comm or LocalComm())


def test_a_model_that_parts_all_pairs_is_judged_perfect_on_any_number_of_ranks(tmp_path: Path) -> None:
    path = _pack(tmp_path, [place % 2 == 0 for place in range(20)])
    alone = _judge(path, fars=(0.1,))
    assert (alone.value("accuracy"), alone.value("auc"), alone.value("tar_at_far_0.1")) == (1.0, 1.0, 1.0)
    assert alone.counts() == {"pairs": 20, "same_pairs": 10}
    assert run_threads(2, lambda comm: _judge(path, comm, fars=(0.1,))) == [alone, alone]


def test_pairs_of_one_kind_have_an_accuracy_and_nothing_else_is_measurable(tmp_path: Path) -> None:
    result = _judge(_pack(tmp_path, [True] * 10), fars=(0.1,))
    assert (result.value("auc"), result.value("tar_at_far_0.1"), result.charts) == (None, None, ())
    assert result.figures["auc"].note == result.figures["tar_at_far_0.1"].note == "all pairs are of one kind"
    assert result.summary() == f"accuracy {result.figures['accuracy'].text}, area under ROC not measurable"


def test_the_settings_say_how_much_of_a_picture_is_shown(tmp_path: Path) -> None:
    # Blue frames around the middle: whole pictures of two people are alike, their centres are not.
    images = []
    for place in range(20):
        for colour in (RED, RED if place % 2 else (40, 220, 40)):
            pixels = np.full((40, 40, 3), BLUE, np.uint8)
            pixels[14:26, 14:26] = colour
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            images.append(stream.getvalue())
    path = tmp_path / "frames.bin"
    path.write_bytes(pickle.dumps((images, [place % 2 == 1 for place in range(20)])))
    thresholds = [_judge(path, crop=crop).value("threshold") for crop in (1.0, 0.25)]
    assert thresholds[0] > 0.9 > thresholds[1]


def test_pairs_of_the_val_split_need_a_dataset() -> None:
    task = build_task(TASKS.validate({}), TaskContext(size_px=16, batch_size=7, dataset=None))
    with pytest.raises(UserError, match=r"pairs=val is drawn from a dataset; add dataset=FOLDER"):
        task.run(_MeanColour(), LocalComm())


@pytest.fixture
def judged() -> VerificationResult:
    rng = np.random.default_rng(3)
    is_same = rng.random(300) < 0.4
    angles = rng.normal(np.where(is_same, 1.0, 1.4), 0.3)
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    both = np.stack([np.tile([1.0, 0.0], (300, 1)), embeddings], axis=1).reshape(-1, 2)
    names = [str(place) for place in range(600)]
    at = np.arange(300)
    pairs = PairSet(
        held(names, [b""] * 600), 2 * at, 2 * at + 1, is_same, contiguous_folds(300, 3, place="x"), "300 drawn pairs"
    )
    result = verify(pairs, both, fars=(0.1, 0.001))
    assert result.auc == pytest.approx(roc_auc_score(is_same, np.cos(angles)))
    return result


def test_every_figure_of_the_protocol_is_in_the_result_to_the_digit(judged: VerificationResult) -> None:
    result = as_result(judged)
    assert result.value("accuracy") == judged.accuracy
    assert result.figures["accuracy"].spread == judged.accuracy_std
    assert result.value("auc") == judged.auc
    assert result.value("tar_at_far_0.1") == judged.tar_at_far["0.1"]
    assert (result.value("tar_at_far_0.001"), result.figures["tar_at_far_0.001"].note) == (None, "too few pairs")
    assert result.value("threshold") == judged.threshold
    assert result.counts() == {"pairs": 300, "same_pairs": judged.num_same}
    assert result.about == f"300 drawn pairs; {judged.num_same} show one person, {300 - judged.num_same} show two"
    (table,) = result.details
    assert [row[1:] for row in table.rows] == [(fold.accuracy, fold.threshold, fold.num_pairs) for fold in judged.folds]


def test_the_chart_is_the_curve_whose_area_is_stated(judged: VerificationResult) -> None:
    (chart,) = as_result(judged).charts
    (curve,) = chart.series
    assert auc(curve.x, curve.y) == pytest.approx(judged.auc, abs=0.002)
    assert (chart.title, chart.x_axis, chart.y_top) == ("ROC", "log", 1.0)


def test_a_result_survives_json(judged: VerificationResult) -> None:
    result = as_result(judged)
    assert Result.model_validate_json(result.model_dump_json()) == result
