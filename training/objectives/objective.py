"""What every objective offers to the loop."""

from abc import ABC, abstractmethod

import torch
from torch import nn


class Objective(nn.Module, ABC):
    """Turns features and labels into the loss to minimise, and owns the parameters that doing so takes."""

    @abstractmethod
    def forward(self, features_BD: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """Features (B, D) and labels (B,) of one rank -> the mean loss over them, a scalar."""
