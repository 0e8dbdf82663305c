"""Class centres: one learnt row per class, against which features are measured."""

import torch
from torch import nn
from torch.nn import functional


class ClassCentres(nn.Module):
    """The centres of all classes, ``weight_CD``, replicated on every rank."""

    def __init__(self, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight_CD = nn.Parameter(torch.empty(num_classes, embedding_dim))
        nn.init.normal_(self.weight_CD, std=0.01)

    def products(self, features_BD: torch.Tensor) -> torch.Tensor:
        """Inner products (B, C) of features and centres as they are."""
        return functional.linear(features_BD, self.weight_CD)

    def cosines(self, features_BD: torch.Tensor) -> torch.Tensor:
        """Cosines (B, C) of the angles between features and centres, -1 to 1 up to rounding."""
        return functional.linear(functional.normalize(features_BD), functional.normalize(self.weight_CD))
