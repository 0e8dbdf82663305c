"""Margins: cosines (B, C) and labels (B,) -> logits (B, C) in which the true class has to win by more."""

import math

import torch

# Keeps the slope of the square root finite where a feature meets its centre (or the opposite of it).
SMALLEST_SQUARED_SINE = 1e-6


def cosface(cosine_BC: torch.Tensor, labels_B: torch.Tensor, *, margin: float, scale: float) -> torch.Tensor:
    """``s (cos(theta) - m)`` for the true class (arXiv 1801.09414, equation 4); m = 0 is the normalised softmax."""
    index_B1 = labels_B.unsqueeze(1)
    return cosine_BC.scatter(1, index_B1, cosine_BC.gather(1, index_B1) - margin) * scale


def arcface(cosine_BC: torch.Tensor, labels_B: torch.Tensor, *, margin: float, scale: float) -> torch.Tensor:
    """``s cos(theta + m)`` for the true class (arXiv 1801.07698, equation 3), ``m`` in radians.

    Not as in the paper: where ``theta + m`` passes pi the cosine would rise again and pull the feature away from its
    centre, so from there on the logit goes on falling with ``cos(theta)``, joined without a step.
    """
    index_B1 = labels_B.unsqueeze(1)
    cosine_B1 = cosine_BC.gather(1, index_B1)
    sine_B1 = (1 - cosine_B1.square()).clamp_min(SMALLEST_SQUARED_SINE).sqrt()
    turned_B1 = cosine_B1 * math.cos(margin) - sine_B1 * math.sin(margin)
    falling_B1 = cosine_B1 + math.cos(margin) - 1
    target_B1 = torch.where(cosine_B1 > -math.cos(margin), turned_B1, falling_B1)
    return cosine_BC.scatter(1, index_B1, target_B1) * scale
