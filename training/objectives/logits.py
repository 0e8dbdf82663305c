"""Features against centres: inner products or cosines, a margin on them, suspects left out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.objectives.cosines import cosines

# (cosines (B, C), labels (B,), norms of the features (B,)) -> logits (B, C)
Margin = Callable[[Tensor, Tensor, Tensor], Tensor]


def from_cosines(function: Callable[[Tensor, Tensor], Tensor]) -> Margin:
    """A margin that is the same whatever the norms of the features."""
    return lambda cosine_BC, labels_B, norms_B: function(cosine_BC, labels_B)


class Logits(nn.Module):
    """Logits of features against the centres that are passed in; ``margin=None`` takes inner products."""

    def __init__(self, margin: Margin | None, *, filter_threshold: float | None = None) -> None:
        """``filter_threshold``: a class that is not the true one and whose cosine is above it is left out, since one
        person may lie under two names (arXiv 2203.15565; there such a cosine becomes 0, here it does not count).
        """
        super().__init__()
        self._margin = margin
        self._filter_threshold = filter_threshold

    def forward(self, features_BD: Tensor, centres_CD: Tensor, labels_B: Tensor) -> Tensor:
        """Logits (B, C) in the dtype of the centres, under autocast too: half precision cannot tell the angles of a
        trained net apart. A label of -1 is that of a class which is not among the C.
        """
        with torch.autocast(features_BD.device.type, enabled=False):
            features_BD = features_BD.to(centres_CD.dtype)
            if self._margin is None:
                return functional.linear(features_BD, centres_CD)
            cosine_BC = cosines(features_BD, centres_CD)
            logits_BC = self._margin(cosine_BC, labels_B, features_BD.detach().norm(dim=1))
            if self._filter_threshold is None:
                return logits_BC
            return logits_BC.masked_fill(_suspects(cosine_BC, labels_B, self._filter_threshold), -torch.inf)


@torch.no_grad()
def _suspects(cosine_BC: Tensor, labels_B: Tensor, threshold: float) -> Tensor:
    """A mask (B, C) of classes that are not the true one and too near to the feature."""
    index_B1 = labels_B.clamp_min(0).unsqueeze(1)
    near_BC = cosine_BC > threshold
    return near_BC.scatter(1, index_B1, near_BC.gather(1, index_B1) & (labels_B.unsqueeze(1) < 0))
