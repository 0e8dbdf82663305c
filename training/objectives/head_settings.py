"""The settings of the classification heads: the ways to hold centres, and the margins."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipelines.kinds import Kind, Kinds
from pipelines.settings import Settings, UserError
from training.objectives.base_settings import Angle, ObjectiveSettings, Scale

if TYPE_CHECKING:
    from training.settings import TrainingSettings


class CentreSettings(Settings):
    """The base of the ways to hold the centres of the classes."""

    kind: str


class ReplicatedSettings(CentreSettings):
    """Every rank holds all centres."""

    kind: Literal["replicated"] = "replicated"


class ShardedSettings(CentreSettings):
    """The ranks share the centres out (Partial FC)."""

    kind: Literal["sharded"] = "sharded"
    sample_rate: float = Field(default=1.0, gt=0, le=1)  # of a rank's centres that take part in a step
    bank: Literal["device", "host"] = "device"  # memory of a rank's centres; host: moved as they are sampled


CENTRES: Kinds[CentreSettings] = Kinds(
    "kind",
    {
        "replicated": Kind(ReplicatedSettings, "training.objectives.heads:build_replicated"),
        "sharded": Kind(ShardedSettings, "training.objectives.heads:build_sharded"),
    },
    default="replicated",
)


class HeadSettings(ObjectiveSettings):
    """A classification over all identities, by one learnt centre for each."""

    centres: Annotated[CentreSettings, CENTRES] = ReplicatedSettings()

    @property
    def sample_rate(self) -> float | None:
        return self.centres.sample_rate if isinstance(self.centres, ShardedSettings) else None

    def check(
        self, run: "TrainingSettings", *, ranks: int, num_classes: int | None = None, at: str = "objective"
    ) -> None:
        if not isinstance(self.centres, ShardedSettings):
            return
        if run.recipe.optimiser.name != "sgd":
            raise UserError(
                f"{at}.centres.kind=sharded and recipe.optimiser.name={run.recipe.optimiser.name}: sharded centres are "
                f"updated by sgd; choose it, or set {at}.centres.kind=replicated"
            )
        if num_classes is not None and num_classes < ranks:
            raise UserError(
                f"{at}.centres.kind=sharded and {num_classes} identities for {ranks} ranks; "
                f"set {at}.centres.kind=replicated, or take fewer ranks"
            )


class SoftmaxSettings(HeadSettings):
    """Plain softmax cross-entropy of inner products."""

    name: Literal["softmax"] = "softmax"


class MarginSettings(HeadSettings):
    """Cosines to the centres, the true one lowered by a margin."""

    scale: Scale = 64.0  # factor on the cosines
    filter_threshold: float | None = Field(default=None, gt=0, lt=1)  # other classes with a cosine above do not count


class ArcFaceSettings(MarginSettings):
    """A margin on the angle."""

    name: Literal["arcface"] = "arcface"
    margin: Angle = 0.5  # radians


class CosFaceSettings(MarginSettings):
    """A margin off the cosine."""

    name: Literal["cosface"] = "cosface"
    margin: Angle = 0.4


class CombinedSettings(MarginSettings):
    """``cos(m1 theta + m2) - m3``."""

    name: Literal["combined"] = "combined"
    margins: tuple[Annotated[float, Field(ge=1, le=4)], Angle, Angle] = (1.0, 0.3, 0.2)  # m1, m2 in radians, m3


class AdaFaceSettings(MarginSettings):
    """A margin on both, which follows the norm of the feature."""

    name: Literal["adaface"] = "adaface"
    margin: Angle = 0.4
    spread: float = Field(default=0.333, gt=0, le=10)  # the paper's h: z of a norm one standard deviation off
    momentum: float = Field(default=0.01, gt=0, le=1)  # the code's t_alpha: weight of a batch in the running figures
