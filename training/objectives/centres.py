"""Class centres: one learnt row per class, against which features are measured."""

import torch
from torch import nn


class ClassCentres(nn.Module):
    """The centres of all classes, ``weight_CD``, replicated on every rank."""

    def __init__(self, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight_CD = nn.Parameter(torch.empty(num_classes, embedding_dim))
        nn.init.normal_(self.weight_CD, std=0.01)
