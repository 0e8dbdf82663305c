"""Learning rates against torch's schedulers, the papers' numbers and scalar formulas."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.schedule import learning_rate
from training.settings import SCHEDULES, CosineSettings, PolynomialSettings, ScheduleSettings, StepSettings

PER_EPOCH = 10
PLAIN = {"warmup_epochs": 0.0, "reference_batch_size": 256}


def rates(settings: ScheduleSettings, *, epochs: int, batch: int = 256) -> list[float]:
    rate = partial(learning_rate, settings, steps_per_epoch=PER_EPOCH, epochs=epochs, global_batch_size=batch)
    return [rate(step=step) for step in range(epochs * PER_EPOCH)]


def torch_rates(scheduler: type, *, steps: int, **options: object) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = scheduler(optimiser, **options)
    values = []
    for _ in range(steps):
        values.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return values


def test_cosine_is_torchs() -> None:
    expected = torch_rates(torch.optim.lr_scheduler.CosineAnnealingLR, steps=80, T_max=80, eta_min=0.001)
    assert rates(CosineSettings(final_fraction=0.01, **PLAIN), epochs=8) == pytest.approx(expected)


def test_step_is_torchs() -> None:
    expected = torch_rates(torch.optim.lr_scheduler.MultiStepLR, steps=80, milestones=[30, 60], gamma=0.2)
    settings = StepSettings(milestones=(3, 6), gamma=0.2, **PLAIN)
    assert rates(settings, epochs=8) == pytest.approx(expected)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_polynomial_is_torchs(power: float) -> None:
    expected = torch_rates(torch.optim.lr_scheduler.PolynomialLR, steps=80, total_iters=80, power=power)
    assert rates(PolynomialSettings(power=power, **PLAIN), epochs=8) == pytest.approx(expected)


def test_goyals_imagenet_schedule_has_the_papers_rates() -> None:
    settings = StepSettings(warmup_epochs=5, warmup_from="base_lr", milestones=(30, 60, 80), reference_batch_size=256)
    values = rates(settings, epochs=90, batch=8192)
    assert values[0] == pytest.approx(0.1 + 3.1 / 50)
    assert values[49] == pytest.approx(3.2)  # k * eta at the last step of the warm-up
    at_epochs = [values[epoch * PER_EPOCH] for epoch in (5, 29, 30, 60, 80)]
    assert at_epochs == pytest.approx([3.2, 3.2, 0.32, 0.032, 0.0032])


def test_warm_up_from_zero_rises_by_equal_amounts_to_the_peak() -> None:
    values = rates(CosineSettings(warmup_epochs=1.5, base_lr=0.3, reference_batch_size=256), epochs=4)
    assert values[:16] == pytest.approx([0.02 * (step + 1) for step in range(15)] + [0.3])


def test_a_batch_below_the_reference_does_not_warm_up_from_above_its_peak() -> None:
    settings = CosineSettings(warmup_epochs=1, warmup_from="base_lr", base_lr=0.1, reference_batch_size=256)
    assert max(rates(settings, epochs=3, batch=128)) == pytest.approx(0.05)


@given(
    kind=st.sampled_from(["cosine", "polynomial"]),
    warmup=st.floats(0, 3.9),
    final=st.floats(0, 1),
    batch=st.integers(1, 4096),
)
def test_rates_rise_to_the_scaled_peak_then_fall_and_never_leave_their_bounds(
    kind: str, warmup: float, final: float, batch: int
) -> None:
    settings = SCHEDULES.validate(
        {"kind": kind, "warmup_epochs": warmup, "final_fraction": final, "reference_batch_size": 256}
    )
    values = rates(settings, epochs=4, batch=batch)
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert math.isclose(max(values), 0.1 * batch / 256)
    assert min(values) > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "step"}, "milestones\n  Field required"),
        ({"kind": "cosine", "milestones": [3]}, "belongs to step, and kind is cosine; set it to null"),
        ({"kind": "step", "milestones": [6, 3]}, "must rise"),
    ],
)
def test_milestones_that_make_no_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SCHEDULES.validate(wrong)
