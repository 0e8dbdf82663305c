"""The table of backbones, its settings, and what is common to all of them."""

from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pipelines.settings import UserError
from training.models.backbones import BACKBONES, build_backbone, normalise
from training.models.residual import Residual
from training.models.settings import BackboneName, ModelSettings

# At an eighth of the width torch 2.11 and 2.13 corrupt memory in the backward pass of channels-last layers of 48 px.
SMALL = {"input_size_px": 32, "width": 0.25, "embedding_dim": 24}


def test_every_name_has_a_builder() -> None:
    assert set(BACKBONES) == set(get_args(BackboneName))


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("size_px", [32, 48])
def test_any_multiple_of_16_gives_features_of_the_asked_size_and_gradients_everywhere(name: str, size_px: int) -> None:
    model = build_backbone(ModelSettings(**{**SMALL, "name": name, "input_size_px": size_px}))
    features = model(torch.randn(3, 3, size_px, size_px).contiguous(memory_format=torch.channels_last))
    assert features.shape == (3, 24)
    features.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["iresnet18", "mobilefacenet", "resnet18"])
def test_the_weights_depend_on_the_seed_alone(name: str) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        np.random.seed()  # the other generator must not matter
        torch.manual_seed(seed)
        return build_backbone(ModelSettings(**{**SMALL, "name": name})).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ["iresnet18", "mobilefacenet", "resnet18", "resnet50"])
def test_zero_init_makes_every_residual_block_its_shortcut(name: str) -> None:
    model = build_backbone(ModelSettings(**{**SMALL, "name": name, "zero_init_residual": True})).eval()
    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    assert blocks
    for block in blocks:
        x = torch.randn(2, _in_channels(block), 8, 8).abs()  # a ReLU came before
        assert torch.equal(block(x), block.activation(block.shortcut(x)))


def _in_channels(block: Residual) -> int:
    return next(module.in_channels for module in block.residual if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("name", ["iresnet10", "mobilefacenet", "resnet18"])
def test_dropout_acts_in_training_and_not_in_evaluation(name: str) -> None:
    model = build_backbone(ModelSettings(**{**SMALL, "name": name, "dropout": 0.5})).eval()
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(model(x), model(x))
    next(module for module in model.modules() if isinstance(module, nn.Dropout)).train()
    assert not torch.equal(model(x), model(x))


def test_a_size_that_no_stride_divides_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="input_size_px=100 is not a multiple of 16"):
        build_backbone(ModelSettings(input_size_px=100))


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ValidationError, match="iresnet51"):
        ModelSettings.model_validate({"name": "iresnet51"})


def test_normalise_is_the_textbook_formula_and_keeps_the_input_and_its_layout() -> None:
    bytes_BCHW = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 3, 1, 1)
    bytes_BCHW = bytes_BCHW.contiguous(memory_format=torch.channels_last)
    before = bytes_BCHW.clone()
    expected = (bytes_BCHW.numpy() / 255.0 - 0.5) / 0.5
    actual = normalise(bytes_BCHW)
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-6)
    assert actual.dtype == torch.float32
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(bytes_BCHW, before)
