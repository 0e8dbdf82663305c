"""The learning rate of every step, as a function of the step alone: nothing to save, nothing to restore.

Linear scaling and gradual warm-up are those of Goyal et al. 2017 (arXiv 1706.02677, sections 2.1 and 2.2).
"""

import bisect
import math
from collections.abc import Callable

from training.settings import SCHEDULES, CosineSettings, PolynomialSettings, ScheduleSettings, StepSettings

# (progress after the warm-up, 0 to 1; epochs since the start of the training) -> the share of the peak
Curve = Callable[[float, float], float]


def cosine(settings: CosineSettings) -> Curve:
    """Half a cosine."""
    return lambda progress, epoch: _above(settings.final_fraction, (1 + math.cos(math.pi * progress)) / 2)


def polynomial(settings: PolynomialSettings) -> Curve:
    """A power of the remaining share of the training."""
    return lambda progress, epoch: _above(settings.final_fraction, (1 - progress) ** settings.power)


def step(settings: StepSettings) -> Curve:
    """A factor for every milestone that is passed."""
    factor, milestones = settings.gamma, settings.milestones
    return lambda progress, epoch: factor ** bisect.bisect_right(milestones, epoch)


def _above(final_fraction: float, remaining: float) -> float:
    return final_fraction + (1 - final_fraction) * remaining


def learning_rate(
    settings: ScheduleSettings, *, step: int, steps_per_epoch: int, epochs: float, global_batch_size: int
) -> float:
    """The rate of ``step`` (from 0). The warm-up's last step runs at the peak, every later one on the kind's curve.

    The warm-up is shorter than the training.
    """
    peak = settings.base_lr * global_batch_size / settings.reference_batch_size
    warmup_steps = round(settings.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        start = 0.0 if settings.warmup_from == "zero" else min(settings.base_lr, peak)
        return start + (peak - start) * (step + 1) / warmup_steps
    curve: Curve = SCHEDULES.builder(settings)(settings)
    progress = min(1.0, (step - warmup_steps) / (epochs * steps_per_epoch - warmup_steps))
    return peak * curve(progress, step / steps_per_epoch)
