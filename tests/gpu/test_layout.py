"""Every backbone in the memory layout of the feed, channels last, against the plain one."""

import pytest
import torch
from torch import Tensor, nn

from training.models.backbones import BACKBONES, build_backbone, normalise
from training.models.settings import ModelSettings

pytestmark = pytest.mark.usefixtures("without_tf32")

LAYOUTS = (torch.channels_last, torch.contiguous_format)
# Largest relative errors of features and of all gradients together: a ReLU's or a maximum's slope jumps where another
# order of additions turns the last bit, and fifty layers in float32 make 0.03 of that. Another order of pixels makes 1.
FEATURE_ERROR, GRADIENT_ERROR = 1e-3, 0.1


def images(size_px: int, count: int, layout: torch.memory_format) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    made = torch.randint(0, 256, (count, 3, size_px, size_px), dtype=torch.uint8, generator=drawn)
    return made.contiguous(memory_format=layout)


def layers_of(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.PReLU)]


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_channels_last_gives_the_features_and_gradients_of_the_plain_layout_and_stays(
    name: str, device: torch.device
) -> None:
    size_px, width, count = (112, 1.0, 32) if device.type == "cuda" else (32, 0.25, 8)
    torch.manual_seed(0)
    net = build_backbone(ModelSettings(name=name, input_size_px=size_px, width=width, embedding_dim=64)).to(device)
    target = torch.randn(count, 64, generator=torch.Generator().manual_seed(1)).to(device)
    seen: list[bool] = []
    for layer in layers_of(net):
        layer.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
        )
    found = {}
    for layout in LAYOUTS:
        net.zero_grad()
        features = net(normalise(images(size_px, count, layout).to(device)))
        (features * target).mean().backward()
        gradients = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        found[layout] = features.detach(), gradients
        if layout is torch.channels_last:
            assert len(seen) == len(layers_of(net))
            assert all(seen), f"{seen.count(False)} of {len(seen)} layers gave another layout"
    for last, plain, error in zip(*found.values(), (FEATURE_ERROR, GRADIENT_ERROR), strict=True):
        assert float((last - plain).norm() / plain.norm()) < error
