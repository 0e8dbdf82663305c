"""A finished model on disk: model.safetensors, and model.json that says how to build and feed what the weights fit."""

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from pipelines.durable import write_atomically
from pipelines.manifest import is_done, verify
from pipelines.settings import Settings, UserError
from training.feed.settings import DecodeSettings
from training.models.backbones import build_backbone
from training.models.settings import ModelSettings

WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "model.json"


class ModelCard(Settings):
    """The description that lies beside the weights."""

    model: ModelSettings
    decode: DecodeSettings  # how pictures were shown in training
    dataset: str  # fingerprint of what it was trained on
    num_classes: int
    num_steps: int


def write_model(folder: Path, backbone: nn.Module, card: ModelCard) -> list[Path]:
    """Write weights and card; return their paths."""
    weights, text = folder / WEIGHTS_NAME, folder / CARD_NAME
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    write_atomically(weights, save(tensors))
    write_atomically(text, (json.dumps(card.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode())
    return [weights, text]


def read_model(folder: Path) -> tuple[nn.Module, ModelCard]:
    """The backbone with its weights, on the CPU, in evaluation mode.

    Raises:
        UserError: the folder holds no model that this version can build, or one that its manifest does not describe.
    """
    if is_done(folder):
        verify(folder, names=(WEIGHTS_NAME, CARD_NAME))
    try:
        card = ModelCard.model_validate_json((folder / CARD_NAME).read_bytes())
        backbone = build_backbone(card.model)
        backbone.load_state_dict(load_file(folder / WEIGHTS_NAME))
    except (OSError, ValidationError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} holds no model that can be built ({reason}); train it again") from None
    return backbone.eval(), card
