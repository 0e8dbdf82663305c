"""Classification over all classes: the softmax cross-entropy of centres, with a margin or without.

Plain softmax takes inner products (no bias), ArcFace (arXiv 1801.07698) and CosFace (arXiv 1801.09414) cosines.
Not as in the papers: nothing but the guard that ``margin.arcface`` describes.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

from training.objectives.centres import ClassCentres
from training.objectives.objective import Objective

# (cosines (B, C), labels (B,)) -> logits (B, C)
Margin = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Softmax(Objective):
    """Mean cross-entropy of the rank's batch; ``margin=None`` is the plain softmax of inner products."""

    def __init__(self, centres: ClassCentres, *, margin: Margin | None) -> None:
        super().__init__()
        self.centres = centres
        self._margin = margin

    def logits(self, features_BD: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """Float32 logits (B, C), under autocast too: half precision cannot tell the angles of a trained net apart."""
        with torch.autocast(features_BD.device.type, enabled=False):
            features_BD = features_BD.float()
            if self._margin is None:
                return self.centres.products(features_BD)
            return self._margin(self.centres.cosines(features_BD), labels_B)

    def forward(self, features_BD: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """Features (B, D) and labels (B,) -> the mean loss, a float32 scalar."""
        return functional.cross_entropy(self.logits(features_BD, labels_B), labels_B)
