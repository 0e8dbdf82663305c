"""Cosines between features and centres, without a second copy of the centres: the largest tables there are."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

SMALLEST_NORM = 1e-12  # of a centre, lest one of nothing but zeros divide by zero


def cosines(features_BD: Tensor, centres_CD: Tensor) -> Tensor:
    """Cosines (B, C) of features (B, D) and centres (C, D), with gradients for both.

    What normalising the centres first would give, but for rounding: the inner products are divided by the norms
    instead. So a step holds the centres and their gradient, where normalised centres and the way back through them
    would be three more tables of that size.
    """
    found: Tensor = _Cosines.apply(functional.normalize(features_BD), centres_CD)  # type: ignore[no-untyped-call]
    return found


class _Cosines(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, unit_BD: Tensor, centres_CD: Tensor) -> Tensor:
        norm_C = torch.linalg.vector_norm(centres_CD, dim=1).clamp_min_(SMALLEST_NORM)
        ctx.save_for_backward(unit_BD, centres_CD, norm_C)
        return functional.linear(unit_BD, centres_CD).div_(norm_C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BC: Tensor) -> tuple[Tensor, Tensor | None]:
        unit_BD, centres_CD, norm_C = ctx.saved_tensors
        slope_BC = slope_BC / norm_C
        of_centres_CD = None
        if ctx.needs_input_grad[1]:
            of_centres_CD = slope_BC.T @ unit_BD
            # Of the slope of a centre the part along the centre goes: its length does not count.
            along_C = torch.bmm(of_centres_CD.unsqueeze(1), centres_CD.unsqueeze(2)).view(-1).div_(norm_C.square())
            of_centres_CD.addcmul_(centres_CD, along_C.unsqueeze(1), value=-1)
        return slope_BC @ centres_CD, of_centres_CD
