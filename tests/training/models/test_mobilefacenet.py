"""MobileFaceNet against the table of its paper."""

import torch
from torch import nn

from training.models.mobilefacenet import MobileFaceNet
from training.models.residual import Residual

# Table 1 of arXiv 1804.07573, row by row, unrolled: (input channels, expanded, output, stride).
ROWS = (
    [(64, 128, 64, 2)]
    + [(64, 128, 64, 1)] * 4
    + [(64, 256, 128, 2)]
    + [(128, 256, 128, 1)] * 6
    + [(128, 512, 128, 2)]
    + [(128, 256, 128, 1)] * 2
)


def count_by_hand() -> int:
    norm_and_slope = 3
    count = 3 * 64 * 9 + norm_and_slope * 64 + 64 * 9 + norm_and_slope * 64
    for inputs, inner, outputs, _ in ROWS:
        count += inputs * inner + norm_and_slope * inner + 9 * inner + norm_and_slope * inner
        count += inner * outputs + 2 * outputs
    count += 128 * 512 + norm_and_slope * 512 + 512 * 49 + 2 * 512
    return count + 512 * 128 + 2 * 128


def test_parameters_are_those_of_the_table_and_about_the_published_million() -> None:
    model = MobileFaceNet(embedding_dim=128, input_size_px=112, dropout=0.0, width=1.0)
    count = sum(p.numel() for p in model.parameters())
    assert count == count_by_hand()
    assert 0.95e6 < count < 1.05e6


def test_strides_and_shortcuts_follow_the_table() -> None:
    model = MobileFaceNet(embedding_dim=16, input_size_px=32, dropout=0.0, width=0.125)
    x = model.stem(torch.randn(1, 3, 32, 32))
    for block, (inputs, _, outputs, stride) in zip(model.bottlenecks, ROWS, strict=True):
        before = x.shape[-1]
        x = block(x)
        assert before // x.shape[-1] == stride
        assert isinstance(block, Residual) == (stride == 1 and inputs == outputs)


def test_the_global_convolution_weighs_every_place_of_the_last_map_once() -> None:
    model = MobileFaceNet(embedding_dim=16, input_size_px=80, dropout=0.0, width=0.125)
    grouped = [m for m in model.head if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [conv.kernel_size for conv in grouped] == [(5, 5)]
