"""Margins: cosines (B, C) and labels (B,) -> logits (B, C) in which the true class has to win by more.

A label of -1 says that the true class is none of the C: another rank has it, and every logit is the scaled cosine.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Keeps the slope of the square root finite where a feature meets its centre (or the opposite of it).
SMALLEST_SQUARED_SINE = 1e-6
# How near AdaFace's angles come to 0 and pi (arXiv 2204.00964, the authors' code).
SMALLEST_ANGLE = 1e-3


def cosface(cosine_BC: Tensor, labels_B: Tensor, *, margin: float, scale: float) -> Tensor:
    """``s (cos(theta) - m)`` for the true class (arXiv 1801.09414, equation 4); m = 0 is the normalised softmax."""
    return _at_target(cosine_BC, labels_B, lambda cosine_B1: cosine_B1 - margin) * scale


def arcface(cosine_BC: Tensor, labels_B: Tensor, *, margin: float, scale: float) -> Tensor:
    """``s cos(theta + m)`` for the true class (arXiv 1801.07698, equation 3), ``m`` in radians.

    Not as in the paper: where ``theta + m`` passes pi the cosine would rise again and pull the feature away from its
    centre, so from there on the logit goes on falling with ``cos(theta)``, joined without a step.
    """

    def turn(cosine_B1: Tensor) -> Tensor:
        turned_B1 = cosine_B1 * math.cos(margin) - _sine(cosine_B1) * math.sin(margin)
        falling_B1 = cosine_B1 + math.cos(margin) - 1
        return torch.where(cosine_B1 > -math.cos(margin), turned_B1, falling_B1)

    return _at_target(cosine_BC, labels_B, turn) * scale


def combined(cosine_BC: Tensor, labels_B: Tensor, *, margins: tuple[float, float, float], scale: float) -> Tensor:
    """``s (cos(m1 theta + m2) - m3)`` for the true class (arXiv 1801.07698, equation 4), ``m2`` in radians.

    (1, m, 0) is ArcFace, (1, 0, m) CosFace, (m, 0, 0) SphereFace. Not as in the paper: the guard of ``arcface``.
    """
    times, plus, minus = margins
    edge = math.cos((math.pi - plus) / times)  # of theta, where times * theta + plus is pi

    def turn(cosine_B1: Tensor) -> Tensor:
        angle_B1 = torch.atan2(_sine(cosine_B1), cosine_B1)
        return torch.where(cosine_B1 > edge, torch.cos(times * angle_B1 + plus), cosine_B1 - edge - 1) - minus

    return _at_target(cosine_BC, labels_B, turn) * scale


def adaface(cosine_BC: Tensor, labels_B: Tensor, strength_B: Tensor, *, margin: float, scale: float) -> Tensor:
    """``s (cos(theta - m z) - (m + m z))`` for the true class (arXiv 2204.00964, equations 11 and 12).

    ``z``, -1 to 1 by the feature's norm, is how good the picture is: hard examples count for more where it is good.
    """
    shift_B1 = margin * strength_B.unsqueeze(1)

    def turn(cosine_B1: Tensor) -> Tensor:
        angle_B1 = torch.atan2(_sine(cosine_B1), cosine_B1) - shift_B1
        return torch.cos(angle_B1.clamp(SMALLEST_ANGLE, math.pi - SMALLEST_ANGLE)) - (margin + shift_B1)

    return _at_target(cosine_BC, labels_B, turn) * scale


def _sine(cosine_B1: Tensor) -> Tensor:
    return (1 - cosine_B1.square()).clamp_min(SMALLEST_SQUARED_SINE).sqrt()


def _at_target(cosine_BC: Tensor, labels_B: Tensor, turn: Callable[[Tensor], Tensor]) -> Tensor:
    """The cosines with that of the true class turned into something else."""
    index_B1 = labels_B.clamp_min(0).unsqueeze(1)
    cosine_B1 = cosine_BC.gather(1, index_B1)
    # Chosen among values, not rows: to choose rows the host would have to wait for a GPU.
    return cosine_BC.scatter(1, index_B1, torch.where(labels_B.unsqueeze(1) >= 0, turn(cosine_B1), cosine_B1))
