"""The residual sum, its projection and its width arithmetic."""

import pytest
import torch
from torch import nn

from training.models.residual import Residual, scaled, shortcut


def test_the_block_is_the_activated_sum_of_its_branches() -> None:
    residual = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    block = Residual(residual, shortcut=nn.Identity(), activation=nn.ReLU()).eval()
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), (residual(x) + x).clamp_min(0))


def test_the_shortcut_is_the_input_itself_where_the_shape_stays() -> None:
    x = torch.randn(2, 8, 6, 6)
    assert shortcut(8, 8, stride=1)(x) is x


@pytest.mark.parametrize(("out_channels", "stride"), [(8, 2), (16, 1), (16, 2)])
def test_the_shortcut_projects_where_the_shape_changes(out_channels: int, stride: int) -> None:
    x = torch.randn(2, 8, 6, 6)
    assert shortcut(8, out_channels, stride=stride)(x).shape == (2, out_channels, 6 // stride, 6 // stride)


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(64, 1.0, 64), (64, 0.5, 32), (64, 0.3, 16), (64, 0.4, 24), (64, 0.01, 16), (512, 2.0, 1024)],
)
def test_widths_come_in_multiples_of_eight(channels: int, width: float, expected: int) -> None:
    assert scaled(channels, width) == expected
