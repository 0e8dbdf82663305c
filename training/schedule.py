"""The learning rate of every step, as a function of the step alone: nothing to save, nothing to restore.

Linear scaling and gradual warm-up are those of Goyal et al. 2017 (arXiv 1706.02677, sections 2.1 and 2.2), cosine that
of Loshchilov and Hutter 2017 (arXiv 1608.03983, without restarts).
"""

import bisect
import math
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.settings import Settings


class ScheduleSettings(Settings):
    """How the learning rate rises and falls; lengths in epochs, so that they hold for every batch size."""

    base_lr: float = Field(default=0.1, gt=0)  # for a global batch of reference_batch_size; scaled linearly
    reference_batch_size: int = Field(default=256, ge=1)  # images
    warmup_epochs: float = Field(default=0.0, ge=0)  # linear rise, a little at every step
    warmup_from: Literal["zero", "base_lr"] = "zero"  # where the rise begins; "base_lr" is Goyal's
    kind: Literal["cosine", "step", "polynomial"] = "cosine"
    milestones: tuple[float, ...] = ()  # step: epochs at which the rate is multiplied by gamma
    gamma: float = Field(default=0.1, gt=0, le=1)  # step
    power: float = Field(default=1.0, gt=0)  # polynomial
    final_fraction: float = Field(default=0.0, ge=0, le=1)  # of the peak, where cosine and polynomial end

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if (self.kind == "step") != bool(self.milestones):
            raise ValueError("milestones belong to the step schedule, which needs at least one, such as [30, 60, 80]")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones are {list(self.milestones)}; they must rise")
        return self


def learning_rate(
    settings: ScheduleSettings, *, step: int, steps_per_epoch: int, epochs: float, global_batch_size: int
) -> float:
    """The rate of ``step`` (from 0). The warm-up's last step runs at the peak, and every later one follows ``kind``.

    The warm-up is shorter than the training.
    """
    peak = settings.base_lr * global_batch_size / settings.reference_batch_size
    warmup_steps = round(settings.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        start = 0.0 if settings.warmup_from == "zero" else min(settings.base_lr, peak)
        return start + (peak - start) * (step + 1) / warmup_steps
    if settings.kind == "step":
        return peak * settings.gamma ** bisect.bisect_right(settings.milestones, step / steps_per_epoch)
    progress = min(1.0, (step - warmup_steps) / (epochs * steps_per_epoch - warmup_steps))
    if settings.kind == "cosine":
        remaining = (1 + math.cos(math.pi * progress)) / 2
    else:
        remaining = (1 - progress) ** settings.power
    return peak * (settings.final_fraction + (1 - settings.final_fraction) * remaining)
