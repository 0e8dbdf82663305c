"""The settings of the objectives, and which of them go together."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.settings import Settings
from training.needs import Needs

ObjectiveName = Literal["softmax", "arcface", "cosface", "combined", "adaface", "class_pool"]
_Angle = Annotated[float, Field(ge=0, lt=math.pi / 2)]

# Name -> which of the margins it takes, scale besides.
_MARGINS: dict[str, str | None] = {
    "softmax": None,
    "arcface": "margin",
    "cosface": "margin",
    "combined": "margins",
    "adaface": "margin",
    "class_pool": "margin",
}


_EXAMPLES = {
    "margin": "a margin and a scale, such as 0.5 and 64",
    "margins": "margins and a scale, such as [1, 0.3, 0.2] and 64",
}


Bank = Literal["device", "host"]


class AdaFaceSettings(Settings):
    """What the margin makes of the norms."""

    spread: float = Field(default=0.333, gt=0, le=10)  # the paper's h: z of a norm one standard deviation off
    momentum: float = Field(default=0.01, gt=0, le=1)  # the code's t_alpha: weight of a batch in the running figures


class PoolSettings(Settings):
    """The pool, and what follows from it."""

    slots: int = Field(default=10_000, ge=10, le=100_000_000)  # identities in the pool; at least the global batch's
    margin: Literal["arcface", "cosface"] = "cosface"  # of probes in the pool; its size is objective.margin
    outside_weight: float = Field(default=1.0, ge=0, le=1000)  # of the term for probes that are not in the pool
    # Of the gallery net, per step: it lags 1 / (1 - momentum) steps behind, in which the backbone must not change much.
    momentum: float = Field(default=0.99, ge=0, lt=1)
    check_every_steps: int = Field(default=1000, ge=1)  # steps between two comparisons of the ranks' pools


class ObjectiveSettings(Settings):
    """Which loss; margin and scale belong to those that compare angles."""

    name: ObjectiveName = "softmax"
    margin: _Angle | None = None  # arcface: radians; cosface: of the cosine; adaface: of both
    margins: tuple[Annotated[float, Field(ge=1, le=4)], _Angle, _Angle] | None = None  # combined: cos(m1 t + m2) - m3
    scale: float | None = Field(default=None, gt=0, le=1024)  # factor on the cosines
    adaface: AdaFaceSettings = AdaFaceSettings()
    filter_threshold: float | None = Field(default=None, gt=0, lt=1)  # other classes with a cosine above do not count
    sharded: bool = False  # the ranks share the centres out, instead of each holding all
    sample_rate: float = Field(default=1.0, gt=0, le=1)  # of a rank's centres that take part in a step; needs sharded
    bank: Bank = "device"  # where a rank's centres lie; host: in main memory, moved as they are sampled
    pool: PoolSettings = PoolSettings()  # of class_pool

    @property
    def needs(self) -> Needs:
        """What it asks of the dataset and the feed."""
        return Needs(plan="dual", layout="identity", views=2) if self.name == "class_pool" else Needs()

    @model_validator(mode="after")
    def _margin_and_scale_where_they_act(self) -> Self:
        needed = [name for name in (_MARGINS[self.name], "scale") if name and _MARGINS[self.name]]
        for name in ("margin", "margins", "scale"):
            if getattr(self, name) is not None and name not in needed:
                remedy = "leave it null, or choose " + ("combined" if name == "margins" else "arcface or cosface")
                raise ValueError(f"the {self.name} objective has no {name}: {remedy}")
        if any(getattr(self, name) is None for name in needed):
            raise ValueError(f"the {self.name} objective needs {_EXAMPLES[needed[0]]}")
        return self

    @model_validator(mode="after")
    def _the_rest_where_it_acts(self) -> Self:
        if self.name in ("softmax", "class_pool") and self.filter_threshold is not None:
            raise ValueError(f"the {self.name} objective filters no classes: set filter_threshold to null")
        if self.name == "class_pool" and self.sharded:
            raise ValueError("the class_pool objective has no centres to share out: set sharded to false")
        if self.name != "class_pool" and self.pool != PoolSettings():
            raise ValueError(f"the {self.name} objective has no pool: leave pool as it is, or choose class_pool")
        if self.name != "adaface" and self.adaface != AdaFaceSettings():
            raise ValueError(f"the {self.name} objective reads no norms: leave adaface as it is, or choose adaface")
        if not self.sharded and self.sample_rate != 1:
            raise ValueError(f"sample_rate={self.sample_rate} samples a shard of the centres: set sharded to true")
        if not self.sharded and self.bank == "host":
            raise ValueError("bank=host keeps a shard of the centres: set sharded to true, or bank to device")
        return self
