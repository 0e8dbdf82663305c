"""The classic ResNet (arXiv 1512.03385, table 1) with an embedding in place of its last layer.

Not as in the paper: a bottleneck strides in its 3x3 convolution, as arXiv 1706.02677 (section 5.1) does, and the class
layer gives way to dropout - FC - BN; the classes belong to the objective.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from training.models.residual import Residual, scaled, shortcut

STAGE_CHANNELS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4

Branch = Callable[[int, int, int], nn.Sequential]


class ResNet(nn.Module):
    """7x7 stem with max pooling, four stages, global average, embedding: a square input of 32 px or more.

    ``depths`` are the blocks of each stage; ``bottleneck`` chooses 1x1 - 3x3 - 1x1 blocks over 3x3 - 3x3 ones.
    """

    def __init__(
        self, depths: Sequence[int], *, bottleneck: bool, embedding_dim: int, dropout: float, width: float
    ) -> None:
        super().__init__()
        channels = scaled(STAGE_CHANNELS[0], width)
        stem = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
        branch = _bottleneck_branch if bottleneck else _basic_branch
        self.stages = nn.Sequential()
        for index, (stage_channels, depth) in enumerate(zip(STAGE_CHANNELS, depths, strict=True)):
            out_channels = scaled(stage_channels, width) * (BOTTLENECK_EXPANSION if bottleneck else 1)
            self.stages.append(_stage(branch, channels, out_channels, depth=depth, stride=1 if index == 0 else 2))
            channels = out_channels
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim),
        )
        self._initialise()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised images -> (B, D) features."""
        return self.head(self.stages(self.stem(x_BCHW)))  # type: ignore[no-any-return]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)


def _stage(branch: Branch, in_channels: int, out_channels: int, *, depth: int, stride: int) -> nn.Sequential:
    entry = _block(branch, in_channels, out_channels, stride)
    return nn.Sequential(entry, *(_block(branch, out_channels, out_channels, 1) for _ in range(depth - 1)))


def _block(branch: Branch, in_channels: int, out_channels: int, stride: int) -> Residual:
    skip = shortcut(in_channels, out_channels, stride=stride)
    return Residual(branch(in_channels, out_channels, stride), shortcut=skip, activation=nn.ReLU())


def _basic_branch(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _bottleneck_branch(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    inner = out_channels // BOTTLENECK_EXPANSION
    return nn.Sequential(
        nn.Conv2d(in_channels, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )
