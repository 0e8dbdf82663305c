"""IR-ResNet against counts worked out layer by layer, and against the shapes of its paper."""

import pytest
import torch

from training.models.iresnet import IResNet


def count_by_hand(depths: tuple[int, ...], embedding_dim: int, size_px: int) -> int:
    """Sum over the layers as the paper draws them; a BatchNorm holds 2 numbers a channel, a PReLU 1."""
    count = 3 * 64 * 9 + 2 * 64 + 64
    channels_in = 64
    for channels, depth in zip((64, 128, 256, 512), depths, strict=True):
        for block in range(depth):
            inputs = channels_in if block == 0 else channels
            count += 2 * inputs + 9 * inputs * channels + 2 * channels + channels + 9 * channels**2 + 2 * channels
            count += inputs * channels + 2 * channels if block == 0 else 0
        channels_in = channels
    return count + 2 * 512 + 512 * (size_px // 16) ** 2 * embedding_dim + embedding_dim + 2 * embedding_dim


# Published beside: the millions of parameters that InsightFace's model zoo states for 112 px and 512 features.
@pytest.mark.parametrize(
    ("depths", "size_px", "published"),
    [
        ((2, 2, 2, 2), 112, 24.0),
        ((3, 4, 6, 3), 112, 34.1),
        ((3, 4, 14, 3), 112, 43.6),
        ((3, 13, 30, 3), 112, 65.2),
        ((1, 1, 1, 1), 64, None),
    ],
)
def test_parameters_are_those_of_the_paper(depths: tuple[int, ...], size_px: int, published: float | None) -> None:
    model = IResNet(depths, embedding_dim=512, input_size_px=size_px, dropout=0.0, width=1.0)
    count = sum(p.numel() for p in model.parameters())
    assert count == count_by_hand(depths, 512, size_px)
    if published:
        assert count / 1e6 == pytest.approx(published, abs=0.1)


def test_each_of_the_four_stages_halves_the_size() -> None:
    model = IResNet((1, 1, 1, 1), embedding_dim=16, input_size_px=64, dropout=0.0, width=0.125)
    x = model.stem(torch.randn(1, 3, 64, 64))
    sizes = [x.shape[-1]]
    for stage in model.stages:
        x = stage(x)
        sizes.append(x.shape[-1])
    assert sizes == [64, 32, 16, 8, 4]


def test_features_leave_the_last_norm_with_unit_variance_and_only_its_shift_is_learnt() -> None:
    model = IResNet((1, 1, 1, 1), embedding_dim=16, input_size_px=32, dropout=0.0, width=0.125)
    features = model(torch.randn(64, 3, 32, 32))
    torch.testing.assert_close(features.std(dim=0, correction=0), torch.ones(16), atol=1e-2, rtol=0)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["head.4.weight"]
