"""Backbones: normalised images (B, 3, S, S) in, features (B, D) out; the classes belong to the objective.

Read ``residual`` first (the sum that all share), then ``iresnet`` (the default for faces), ``mobilefacenet`` (small),
``resnet`` (the classic). A new backbone is one file and one line of ``BACKBONES``.
"""

from collections.abc import Callable

import torch
from torch import nn

from pipelines.settings import UserError
from training.models.iresnet import STRIDE, IResNet
from training.models.mobilefacenet import MobileFaceNet
from training.models.residual import Residual
from training.models.resnet import ResNet
from training.models.settings import BackboneName, ModelSettings


def _iresnet(*depths: int) -> Callable[[ModelSettings], nn.Module]:
    return lambda s: IResNet(
        depths, embedding_dim=s.embedding_dim, input_size_px=s.input_size_px, dropout=s.dropout, width=s.width
    )


def _resnet(*depths: int, bottleneck: bool) -> Callable[[ModelSettings], nn.Module]:
    return lambda s: ResNet(
        depths, bottleneck=bottleneck, embedding_dim=s.embedding_dim, dropout=s.dropout, width=s.width
    )


def _mobilefacenet(s: ModelSettings) -> nn.Module:
    return MobileFaceNet(embedding_dim=s.embedding_dim, input_size_px=s.input_size_px, dropout=s.dropout, width=s.width)


BACKBONES: dict[BackboneName, Callable[[ModelSettings], nn.Module]] = {
    "iresnet10": _iresnet(1, 1, 1, 1),
    "iresnet18": _iresnet(2, 2, 2, 2),
    "iresnet34": _iresnet(3, 4, 6, 3),
    "iresnet50": _iresnet(3, 4, 14, 3),
    "iresnet100": _iresnet(3, 13, 30, 3),
    "mobilefacenet": _mobilefacenet,
    "resnet18": _resnet(2, 2, 2, 2, bottleneck=False),
    "resnet50": _resnet(3, 4, 6, 3, bottleneck=True),
}


def build_backbone(settings: ModelSettings) -> nn.Module:
    """A freshly initialised backbone; its weights depend on torch's seed alone.

    Raises ``UserError`` where the input size is not a multiple of the backbone's stride.
    """
    if settings.input_size_px % STRIDE:
        raise UserError(f"model.input_size_px={settings.input_size_px} is not a multiple of {STRIDE}: choose one")
    backbone = BACKBONES[settings.name](settings)
    if settings.zero_init_residual:
        for module in backbone.modules():
            if isinstance(module, Residual):
                module.start_as_shortcut()
    return backbone


def normalise(images_BCHW: torch.Tensor) -> torch.Tensor:
    """Bytes 0..255 -> float32 -1..1, ``(x / 255 - 0.5) / 0.5``, on the device and in the memory layout of the input."""
    return images_BCHW.float().mul_(2 / 255).sub_(1)
