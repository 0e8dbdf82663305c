"""The learning rate of every step, as a function of the step alone: nothing to save, nothing to restore.

Linear scaling and gradual warm-up are those of Goyal et al. 2017 (arXiv 1706.02677, sections 2.1 and 2.2), cosine that
of Loshchilov and Hutter 2017 (arXiv 1608.03983, without restarts).
"""

import bisect
import math

from training.settings import ScheduleSettings


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
