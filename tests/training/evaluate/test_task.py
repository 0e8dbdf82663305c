"""A pack whose pictures tell their person by their colour, and a backbone that sees colour, must be judged perfect."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn

from training.comm.local import LocalComm
from training.evaluate.settings import EvaluateSettings
from training.evaluate.task import evaluate
from training.feed.location import Location
from training.testing.threads import run_threads


class _MeanColour(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return self.scale * images.mean((2, 3))


def _picture(colour, seed):
    noise = np.random.default_rng(seed).integers(-20, 20, (24, 20, 3))
    stream = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _pack(tmp_path):
    red, blue = (220, 40, 40), (40, 40, 220)
    images = []
    for place in range(20):
        images += [_picture(red, 2 * place), _picture(blue if place % 2 else red, 2 * place + 1)]
    path = tmp_path / "colours.bin"
    path.write_bytes(pickle.dumps((images, [place % 2 == 0 for place in range(20)])))
    return path


def test_a_model_that_tells_all_pairs_is_judged_perfect_on_any_number_of_ranks(tmp_path):
    settings = EvaluateSettings(pairs="bin", path=_pack(tmp_path), folds=5, batch_size=7, fars=(0.1,))

    def judge(comm):
        return evaluate(_MeanColour(), settings, comm, dataset=Location(tmp_path), size_px=16)

    alone = judge(LocalComm())
    assert (alone.accuracy, alone.auc, alone.num_pairs, alone.num_same) == (1.0, 1.0, 20, 10)
    assert alone.tar_at_far == {"0.1": 1.0}
    assert [result.accuracy for result in run_threads(2, judge)] == [1.0, 1.0]


def test_a_result_survives_json(tmp_path):
    settings = EvaluateSettings(pairs="bin", path=_pack(tmp_path), folds=5)
    result = evaluate(_MeanColour(), settings, LocalComm(), dataset=Location(tmp_path), size_px=16)
    assert type(result).model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"pairs": "bin"}, "needs path"),
        ({"pairs": "val", "path": "x"}, "is not read with pairs=val"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"fars": (0.0,)}, "greater than 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, told):
    with pytest.raises(ValidationError, match=told):
        EvaluateSettings(**values)
