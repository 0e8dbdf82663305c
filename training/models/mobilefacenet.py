"""MobileFaceNet, a face network of one million parameters (arXiv 1804.07573, table 1).

Inverted residual bottlenecks with PReLU, and a global depthwise convolution where others average: the corner of a face
crop deserves another weight than its centre.
"""

import torch
from torch import nn

from training.models.residual import Residual, scaled

STRIDE = 16

# Rows of table 1 between the stem and the 1x1 convolution: expansion, output channels, repeats, stride of the first.
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
STEM_CHANNELS = 64
LAST_CHANNELS = 512


class MobileFaceNet(nn.Module):
    """The network of table 1; the kernel of the global depthwise convolution follows the input size."""

    def __init__(self, *, embedding_dim: int, input_size_px: int, dropout: float, width: float) -> None:
        super().__init__()
        stem, last = scaled(STEM_CHANNELS, width), scaled(LAST_CHANNELS, width)
        self.stem = nn.Sequential(*_conv(3, stem, kernel=3, stride=2), *_depthwise(stem, stride=1))
        self.bottlenecks = nn.Sequential()
        channels = stem
        for expansion, out_channels, repeats, stride in BOTTLENECKS:
            for index in range(repeats):
                block = _bottleneck(channels, scaled(out_channels, width), expansion, stride if index == 0 else 1)
                self.bottlenecks.append(block)
                channels = scaled(out_channels, width)
        grid_px = input_size_px // STRIDE
        self.head = nn.Sequential(
            *_conv(channels, last, kernel=1),
            nn.Conv2d(last, last, grid_px, groups=last, bias=False),
            nn.BatchNorm2d(last),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(last, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim),
        )
        self._initialise()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised images -> (B, D) features."""
        return self.head(self.bottlenecks(self.stem(x_BCHW)))  # type: ignore[no-any-return]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


def _conv(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.PReLU(out_channels)]


def _depthwise(channels: int, *, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.PReLU(channels)]


def _bottleneck(in_channels: int, out_channels: int, expansion: int, stride: int) -> nn.Module:
    inner = in_channels * expansion
    layers = nn.Sequential(
        *_conv(in_channels, inner, kernel=1),
        *_depthwise(inner, stride=stride),
        nn.Conv2d(inner, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )
    if stride != 1 or in_channels != out_channels:
        return layers
    return Residual(layers, shortcut=nn.Identity(), activation=nn.Identity())
