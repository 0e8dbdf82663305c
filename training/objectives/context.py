"""Everything that the builder of an objective may ask of the run."""

from dataclasses import dataclass

import torch
from torch import nn

from training.comm.protocol import Comm
from training.settings import OptimiserSettings


@dataclass(frozen=True)
class ObjectiveContext:
    """The run around an objective."""

    backbone: nn.Module
    comm: Comm  # of the ranks that share a batch
    device: torch.device
    optimiser: OptimiserSettings
    seed: int
    num_classes: int  # identities to train on
    embedding_dim: int
