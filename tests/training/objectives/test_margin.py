"""Margins against scalar arithmetic on angles."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.objectives.margin import adaface, arcface, combined, cosface

COSINES = st.floats(-0.999, 0.999)
MARGINS = st.floats(0, 1.2)


@given(cosine=COSINES, other=COSINES, margin=MARGINS)
def test_arcface_turns_the_true_angle_and_no_other(cosine: float, other: float, margin: float) -> None:
    logits = arcface(torch.tensor([[other, cosine]]), torch.tensor([1]), margin=margin, scale=32.0)
    angle = math.acos(cosine) + margin
    expected = math.cos(angle) if angle < math.pi else cosine + math.cos(margin) - 1
    assert logits[0, 0].item() == pytest.approx(32 * other, abs=1e-4)
    assert logits[0, 1].item() == pytest.approx(32 * expected, abs=0.02)


@given(cosine=COSINES, other=COSINES, margin=MARGINS)
def test_cosface_lowers_the_true_cosine_and_no_other(cosine: float, other: float, margin: float) -> None:
    logits = cosface(torch.tensor([[cosine, other]]), torch.tensor([0]), margin=margin, scale=16.0)
    assert logits[0].tolist() == pytest.approx([16 * (cosine - margin), 16 * other], abs=1e-4)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.2])
def test_arcface_falls_all_the_way_from_one_side_of_the_sphere_to_the_other(margin: float) -> None:
    angles = [math.pi * step / 1000 for step in range(1001)]
    cosine_B1 = torch.tensor([math.cos(a) for a in angles], dtype=torch.float64).unsqueeze(1)
    labels_B = torch.zeros(len(angles), dtype=torch.int64)
    logits = arcface(cosine_B1, labels_B, margin=margin, scale=1.0).squeeze(1).tolist()
    drops = [high - low for high, low in pairwise(logits)]
    assert min(drops) >= 0
    assert max(drops) < 0.01  # no step where the branches meet


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000002])
def test_arcface_has_finite_gradients_where_feature_and_centre_meet(cosine: float) -> None:
    cosine_BC = torch.tensor([[cosine, 0.0]], requires_grad=True)
    arcface(cosine_BC, torch.tensor([0]), margin=0.5, scale=64.0).sum().backward()
    assert cosine_BC.grad is not None
    assert torch.isfinite(cosine_BC.grad).all()


@pytest.mark.parametrize("margin_of", [arcface, cosface])
def test_without_a_margin_both_are_the_scaled_cosine(margin_of: object) -> None:
    cosine_BC = torch.empty(4, 3).uniform_(-0.99, 0.99)
    logits = margin_of(cosine_BC, torch.tensor([0, 1, 2, 0]), margin=0.0, scale=10.0)  # type: ignore[operator]
    torch.testing.assert_close(logits, 10 * cosine_BC)


def test_the_cosines_passed_in_stay_as_they_are() -> None:
    cosine_BC = torch.empty(4, 3).uniform_(-0.99, 0.99)
    before = cosine_BC.clone()
    arcface(cosine_BC, torch.tensor([0, 1, 2, 0]), margin=0.3, scale=10.0)
    cosface(cosine_BC, torch.tensor([0, 1, 2, 0]), margin=0.3, scale=10.0)
    assert torch.equal(cosine_BC, before)


@given(cosine=COSINES, other=COSINES, times=st.floats(1, 2), plus=st.floats(0, 0.8), minus=st.floats(0, 0.8))
def test_combined_is_the_formula_up_to_pi_and_falls_from_there(
    cosine: float, other: float, times: float, plus: float, minus: float
) -> None:
    logits = combined(
        torch.tensor([[other, cosine]], dtype=torch.float64),
        torch.tensor([1]),
        margins=(times, plus, minus),
        scale=8.0,
    )
    angle = times * math.acos(cosine) + plus
    expected = math.cos(angle) if angle < math.pi else cosine - math.cos((math.pi - plus) / times) - 1
    assert logits[0].tolist() == pytest.approx([8 * other, 8 * (expected - minus)], abs=1e-6)


@given(cosine=st.floats(-0.95, 0.95), strength=st.floats(-1, 1), margin=st.floats(0, 0.5))
def test_adaface_is_the_papers_two_margins(cosine: float, strength: float, margin: float) -> None:
    logits = adaface(
        torch.tensor([[cosine, 0.25]], dtype=torch.float64),
        torch.tensor([0]),
        torch.tensor([strength], dtype=torch.float64),
        margin=margin,
        scale=8.0,
    )
    angle = min(max(math.acos(cosine) - margin * strength, 1e-3), math.pi - 1e-3)
    expected = math.cos(angle) - (margin * strength + margin)
    assert logits[0].tolist() == pytest.approx([8 * expected, 2.0], abs=1e-6)


def test_a_true_class_that_is_elsewhere_leaves_the_scaled_cosines() -> None:
    cosine_BC = torch.empty(2, 3).uniform_(-0.9, 0.9)
    nowhere_B = torch.tensor([-1, -1])
    for logits in (
        arcface(cosine_BC, nowhere_B, margin=0.5, scale=4.0),
        cosface(cosine_BC, nowhere_B, margin=0.5, scale=4.0),
        combined(cosine_BC, nowhere_B, margins=(1.2, 0.3, 0.1), scale=4.0),
        adaface(cosine_BC, nowhere_B, torch.zeros(2), margin=0.4, scale=4.0),
    ):
        assert torch.equal(logits, 4 * cosine_BC)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000002])
def test_angles_have_finite_gradients_where_feature_and_centre_meet(cosine: float) -> None:
    cosine_BC = torch.tensor([[cosine, 0.0]], requires_grad=True)
    total = combined(cosine_BC, torch.tensor([0]), margins=(1.3, 0.2, 0.1), scale=64.0).sum()
    total = total + adaface(cosine_BC, torch.tensor([0]), torch.tensor([-0.5]), margin=0.4, scale=64.0).sum()
    total.backward()
    assert cosine_BC.grad is not None
    assert torch.isfinite(cosine_BC.grad).all()
