"""Objectives: what is minimised. Features (B, D) and labels (B,) in, a scalar loss out.

Read ``objective`` (the interface), ``centres`` (one row per class), ``margin`` (cosines to logits), then ``softmax``,
which joins the two.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from pipelines.settings import Settings
from training.objectives.centres import ClassCentres
from training.objectives.margin import arcface, cosface
from training.objectives.objective import Objective
from training.objectives.softmax import Margin, Softmax

__all__ = ["Objective", "ObjectiveSettings", "build_objective"]

ObjectiveName = Literal["softmax", "arcface", "cosface"]

MARGINS: dict[str, Callable[..., torch.Tensor]] = {"arcface": arcface, "cosface": cosface}


class ObjectiveSettings(Settings):
    """Which loss; margin and scale belong to the two that compare angles."""

    name: ObjectiveName = "softmax"
    margin: float | None = Field(default=None, ge=0, lt=math.pi / 2)  # arcface: radians; cosface: of the cosine
    scale: float | None = Field(default=None, gt=0, le=1024)  # factor on the cosines

    @model_validator(mode="after")
    def _margin_and_scale_where_they_act(self) -> Self:
        given = [name for name in ("margin", "scale") if getattr(self, name) is not None]
        if self.name == "softmax" and given:
            raise ValueError(f"the softmax objective has no {given[0]}: leave it null, or choose arcface or cosface")
        if self.name != "softmax" and len(given) < 2:
            raise ValueError(f"the {self.name} objective needs a margin and a scale, such as 0.5 and 64")
        return self


def build_objective(settings: ObjectiveSettings, *, num_classes: int, embedding_dim: int) -> Objective:
    """The objective with freshly drawn centres; they depend on torch's seed alone."""
    margin: Margin | None = None
    if settings.name != "softmax":
        margin = partial(MARGINS[settings.name], margin=settings.margin, scale=settings.scale)
    return Softmax(ClassCentres(num_classes, embedding_dim), margin=margin)
