"""training/model_file: a model comes back with the same weights, or not at all."""

from pathlib import Path

import pytest
import torch

from pipelines.settings import UserError
from training.feed.settings import DecodeSettings
from training.model_file import ModelCard, read_model, write_model
from training.models.backbones import build_backbone
from training.models.settings import ModelSettings

SETTINGS = ModelSettings(name="iresnet10", width=0.25, embedding_dim=16, input_size_px=32)
CARD = ModelCard(model=SETTINGS, decode=DecodeSettings(size_px=32), dataset="d", num_classes=3, num_steps=9)


def test_a_model_gives_the_same_features_after_a_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(SETTINGS).eval()
    write_model(tmp_path, backbone, CARD)
    restored, card = read_model(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(restored(images), backbone(images))
    assert not restored.training
    assert card == CARD


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(SETTINGS)
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append([path.read_bytes() for path in write_model(tmp_path / name, backbone, CARD)])
    assert files[0] == files[1]


@pytest.mark.parametrize("victim", ["model.safetensors", "model.json"])
def test_a_cut_model_is_one_clear_line(tmp_path: Path, victim: str) -> None:
    write_model(tmp_path, build_backbone(SETTINGS), CARD)
    path = tmp_path / victim
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="holds no model that can be built"):
        read_model(tmp_path)
