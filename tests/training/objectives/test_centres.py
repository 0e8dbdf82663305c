"""Class centres: their start."""

import pytest
import torch

from training.objectives.centres import ClassCentres


def test_centres_begin_as_narrow_noise_drawn_from_torchs_seed() -> None:
    torch.manual_seed(3)
    weight = ClassCentres(200, 100).weight_CD.detach()
    torch.manual_seed(3)
    assert torch.equal(weight, ClassCentres(200, 100).weight_CD)
    assert weight.mean().item() == pytest.approx(0, abs=3 * 0.01 / 20_000**0.5)
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
