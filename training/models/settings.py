"""The settings of the backbones."""

from typing import Literal

from pydantic import Field

from pipelines.settings import Settings

BackboneName = Literal[
    "iresnet10", "iresnet18", "iresnet34", "iresnet50", "iresnet100", "mobilefacenet", "resnet18", "resnet50"
]


class ModelSettings(Settings):
    """The backbone and its sizes."""

    name: BackboneName = "iresnet50"
    embedding_dim: int = Field(default=512, ge=2, le=8192)
    input_size_px: int = Field(default=112, ge=32, le=1024)  # side of the square input, a multiple of 16
    width: float = Field(default=1.0, gt=0, le=4)  # factor on the channels of every stage
    dropout: float = Field(default=0.0, ge=0, lt=1)  # probability, before the embedding layer
    zero_init_residual: bool = False  # every residual block starts as its shortcut
