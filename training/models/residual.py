"""The sum that makes a network residual, shared by every backbone (arXiv 1512.03385, equation 2)."""

import torch
from torch import nn


class Residual(nn.Module):
    """``activation(residual(x) + shortcut(x))``; the residual branch ends in a BatchNorm."""

    def __init__(self, residual: nn.Sequential, *, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        assert isinstance(residual[-1], nn.BatchNorm2d)
        self.residual = residual
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) -> (B, out, H/stride, W/stride)."""
        return self.activation(self.residual(x_BCHW) + self.shortcut(x_BCHW))  # type: ignore[no-any-return]

    def start_as_shortcut(self) -> None:
        """Zero the scale of the last BatchNorm, so that the block begins as its shortcut (arXiv 1706.02677, 5.1)."""
        nn.init.zeros_(self.residual[-1].weight)  # type: ignore[arg-type]


def shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    """The input itself, or a 1x1 projection where the shape changes (option B of the ResNet paper)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


def scaled(channels: int, width: float) -> int:
    """Channels of a network made ``width`` times as wide: multiples of 8, as vector units like them, and at least 16.

    torch 2.13's CPU kernels write past their memory in the backward pass of a 1x1 convolution of stride 2 between
    fewer channels (seen with AVX-512, on one thread and on two).
    """
    return max(16, round(channels * width / 8) * 8)
