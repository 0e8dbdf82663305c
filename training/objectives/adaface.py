"""AdaFace (Kim et al. 2022, arXiv 2204.00964): a margin that grows with the quality of the picture, shown by its norm.

``z = clip(h (norm - mean) / std, -1, 1)`` with running mean and standard deviation of the norms (section 3.3). Not as
there: the statistics are those of the batch of all ranks, so that they are the same on every rank.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.objectives.head_settings import AdaFaceSettings
from training.objectives.margin import adaface

_SMALLEST_NORM, _LARGEST_NORM = 0.001, 100.0
_FIRST_MEAN, _FIRST_STD = 20.0, 100.0
_EPSILON = 1e-3


class AdaFace(nn.Module):
    """Cosines, labels and norms -> logits; keeps the running mean and standard deviation of the norms."""

    def __init__(self, settings: AdaFaceSettings, *, gather: Callable[[Tensor], Tensor] | None) -> None:
        """``gather`` gives the norms of all ranks for those of one; None where it is given all of them."""
        super().__init__()
        self._settings = settings
        self._gather = gather
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(_FIRST_MEAN))
        self.register_buffer("std", torch.tensor(_FIRST_STD))

    def forward(self, cosine_BC: Tensor, labels_B: Tensor, norms_B: Tensor) -> Tensor:
        """Cosines (B, C), labels (B,), the features' norms (B,) -> logits (B, C); in training the norms are counted."""
        norms_B = norms_B.detach().clamp(_SMALLEST_NORM, _LARGEST_NORM)
        if self.training:
            self._count(self._gather(norms_B) if self._gather else norms_B)
        strength_B = self._settings.spread * (norms_B - self.mean) / (self.std + _EPSILON)
        margin, scale = self._settings.margin, self._settings.scale
        return adaface(cosine_BC, labels_B, strength_B.clamp(-1, 1), margin=margin, scale=scale)

    def _count(self, norms_N: Tensor) -> None:
        self.mean.lerp_(norms_N.mean().to(self.mean.dtype), self._settings.momentum)
        if len(norms_N) > 1:  # one norm alone has no deviation
            self.std.lerp_(norms_N.std().to(self.std.dtype), self._settings.momentum)
