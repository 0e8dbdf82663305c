"""IR-ResNet, the improved residual network that ArcFace trains (arXiv 1801.07698, section 3.1).

Against the classic ResNet: no pooling in the stem, stride 2 in all four stages, a BatchNorm before the first
convolution, PReLU inside the block only, nothing after the sum. The convolutions of a block are 3x3 at every depth.
"""

from collections.abc import Sequence

import torch
from torch import nn

from training.models.residual import Residual, scaled, shortcut

STAGE_CHANNELS = (64, 128, 256, 512)
STRIDE = 16


class IResNet(nn.Module):
    """Stem, four stages that each halve the size, and the output head BN - dropout - FC - BN.

    ``depths`` are the blocks of each stage. The input is square; its side must be a multiple of 16.
    """

    def __init__(
        self, depths: Sequence[int], *, embedding_dim: int, input_size_px: int, dropout: float, width: float
    ) -> None:
        super().__init__()
        channels = [scaled(c, width) for c in STAGE_CHANNELS]
        self.stem = nn.Sequential(_conv3x3(3, channels[0]), nn.BatchNorm2d(channels[0]), nn.PReLU(channels[0]))
        entries = [channels[0], *channels[:-1]]
        self.stages = nn.Sequential(*map(_stage, entries, channels, depths))
        grid_px = input_size_px // STRIDE
        self.head = nn.Sequential(
            nn.BatchNorm2d(channels[-1]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(channels[-1] * grid_px**2, embedding_dim),
            nn.BatchNorm1d(embedding_dim),
        )
        self._initialise()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised images -> (B, D) features."""
        return self.head(self.stages(self.stem(x_BCHW)))  # type: ignore[no-any-return]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.1)
        # The scale of a feature is lost when the objective normalises it: only the shift of the last BN is learnt.
        self.head[-1].weight.requires_grad_(False)


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def _stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    entry = _block(in_channels, out_channels, stride=2)
    return nn.Sequential(entry, *(_block(out_channels, out_channels, stride=1) for _ in range(depth - 1)))


def _block(in_channels: int, out_channels: int, *, stride: int) -> Residual:
    residual = nn.Sequential(
        nn.BatchNorm2d(in_channels),
        _conv3x3(in_channels, out_channels),
        nn.BatchNorm2d(out_channels),
        nn.PReLU(out_channels),
        _conv3x3(out_channels, out_channels, stride),
        nn.BatchNorm2d(out_channels),
    )
    skip = shortcut(in_channels, out_channels, stride=stride)
    return Residual(residual, shortcut=skip, activation=nn.Identity())
