"""The classic ResNet against the published sizes of its paper's networks."""

import pytest
import torch

from training.models.resnet import ResNet


# Published: 11,689,512 and 25,557,032 parameters with a class layer of 1000 outputs and biases.
@pytest.mark.parametrize(
    ("depths", "bottleneck", "channels", "published"),
    [((2, 2, 2, 2), False, 512, 11_689_512), ((3, 4, 6, 3), True, 2048, 25_557_032)],
)
def test_parameters_are_the_published_ones_but_for_the_head(
    depths: tuple[int, ...], bottleneck: bool, channels: int, published: int
) -> None:
    model = ResNet(depths, bottleneck=bottleneck, embedding_dim=128, dropout=0.0, width=1.0)
    class_layer = channels * 1000 + 1000
    embedding = channels * 128 + 2 * 128
    assert sum(p.numel() for p in model.parameters()) == published - class_layer + embedding


@pytest.mark.parametrize("bottleneck", [False, True])
def test_the_stages_divide_the_size_by_4_8_16_32(bottleneck: bool) -> None:
    model = ResNet((1, 1, 1, 1), bottleneck=bottleneck, embedding_dim=16, dropout=0.0, width=0.125)
    x = model.stem(torch.randn(1, 3, 64, 64))
    sizes = []
    for stage in model.stages:
        x = stage(x)
        sizes.append(x.shape[-1])
    assert sizes == [16, 8, 4, 2]


def test_the_bottleneck_strides_in_its_3x3_convolution() -> None:
    model = ResNet((1, 1, 1, 1), bottleneck=True, embedding_dim=16, dropout=0.0, width=0.125)
    entry = model.stages[1][0].residual
    assert [(m.kernel_size, m.stride) for m in entry if hasattr(m, "stride")] == [
        ((1, 1), (1, 1)),
        ((3, 3), (2, 2)),
        ((1, 1), (1, 1)),
    ]
