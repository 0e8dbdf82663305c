"""The settings of the other objectives, and the table of all of them."""

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.kinds import Kind, Kinds
from pipelines.settings import Settings, UserError
from training.needs import Needs
from training.objectives.base_settings import Angle, ObjectiveSettings, Scale
from training.objectives.head_settings import (
    AdaFaceSettings,
    ArcFaceSettings,
    CombinedSettings,
    CosFaceSettings,
    SoftmaxSettings,
)

if TYPE_CHECKING:
    from training.settings import TrainingSettings

DistanceName = Literal["cosine", "squared_euclidean", "euclidean"]
PairMinerName = Literal["all", "hardest"]
TripletMinerName = Literal["all", "semi_hard", "hardest"]
ReducerName = Literal["mean", "mean_nonzero"]


class PoolSettings(Settings):
    """The pool, and what follows from it."""

    slots: int = Field(default=10_000, ge=10, le=100_000_000)  # identities in the pool; at least the global batch's
    margin: Literal["arcface", "cosface"] = "cosface"  # of probes in the pool; its size is objective.margin
    outside_weight: float = Field(default=1.0, ge=0, le=1000)  # of the term for probes that are not in the pool
    # Of the gallery net, per step: it lags 1 / (1 - momentum) steps behind, in which the backbone must not change much.
    momentum: float = Field(default=0.99, ge=0, lt=1)
    check_every_steps: int = Field(default=1000, ge=1)  # steps between two comparisons of the ranks' pools


class ClassPoolSettings(ObjectiveSettings):
    """F2C: no centres, a pool of recent features."""

    name: Literal["class_pool"] = "class_pool"
    margin: Angle = 0.4
    scale: Scale = 32.0
    pool: PoolSettings = PoolSettings()

    @property
    def needs(self) -> Needs:
        return Needs(plan="dual", layout="identity", views=2)

    @property
    def pictures_per_row(self) -> int:
        return 1 + self.needs.views

    @property
    def pool_slots(self) -> int | None:
        return self.pool.slots

    def check(
        self, run: "TrainingSettings", *, ranks: int, num_classes: int | None = None, at: str = "objective"
    ) -> None:
        pictures = ranks * half_step_pictures(run.recipe.batch_size // ranks)
        if self.pool.slots < pictures:
            raise UserError(
                f"{at}.pool.slots={self.pool.slots} cannot hold the {pictures} pictures of a half-step of all ranks; "
                f"set it to at least {pictures}, or make recipe.batch_size smaller"
            )


class PictureDistanceSettings(ObjectiveSettings):
    """A loss of the distances between the pictures of a batch, several of each identity."""

    distance: DistanceName
    unit_length: bool = True  # features are brought to length 1 first
    reducer: ReducerName  # from the losses of many pairs or triplets to one

    @property
    def needs(self) -> Needs:
        return Needs(plan="identities", layout="identity")

    def check(
        self, run: "TrainingSettings", *, ranks: int, num_classes: int | None = None, at: str = "objective"
    ) -> None:
        if run.feed.photos_per_identity == 1:
            raise UserError(
                f"{at}.name={self.name} compares photos of one identity, and feed.photos_per_identity=1; "
                "set it to 2 or more"
            )


class ContrastiveSettings(PictureDistanceSettings):
    """Pairs of one identity near, pairs of two at least a margin apart."""

    name: Literal["contrastive"] = "contrastive"
    margin: float = Field(default=1.0, gt=0, le=1000)  # of the distance
    distance: DistanceName = "euclidean"
    miner: PairMinerName = "all"
    reducer: ReducerName = "mean"


class TripletSettings(PictureDistanceSettings):
    """An anchor nearer to its own identity than to any other, by a margin."""

    name: Literal["triplet"] = "triplet"
    margin: float = Field(default=0.2, gt=0, le=1000)  # of the distance
    distance: DistanceName = "squared_euclidean"
    miner: TripletMinerName = "semi_hard"
    reducer: ReducerName = "mean"


OBJECTIVES: Kinds[ObjectiveSettings] = Kinds(
    "name",
    {
        "softmax": Kind(SoftmaxSettings, "training.objectives.heads:build_softmax"),
        "arcface": Kind(ArcFaceSettings, "training.objectives.heads:build_arcface"),
        "cosface": Kind(CosFaceSettings, "training.objectives.heads:build_cosface"),
        "combined": Kind(CombinedSettings, "training.objectives.heads:build_combined"),
        "adaface": Kind(AdaFaceSettings, "training.objectives.heads:build_adaface"),
        "class_pool": Kind(ClassPoolSettings, "training.objectives.f2c:build"),
        "contrastive": Kind(ContrastiveSettings, "training.objectives.contrastive:build"),
        "triplet": Kind(TripletSettings, "training.objectives.triplet:build"),
    },
)

AnyObjective = Annotated[ObjectiveSettings, OBJECTIVES]


class TermSettings(Settings):
    """One term of a sum."""

    weight: float = Field(default=1.0, gt=0, le=1_000_000)
    objective: AnyObjective


class SumSettings(ObjectiveSettings):
    """A weighted sum of objectives of the table, over the same features."""

    name: Literal["sum"] = "sum"
    terms: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], TermSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _terms_share_batches(self) -> Self:
        for name, term in self.terms.items():
            if term.objective.needs.plan == "dual":
                raise ValueError(
                    f"terms.{name} is {term.objective.name}, which takes batches of its own; train with it alone"
                )
        return self

    @property
    def needs(self) -> Needs:
        """Needs that serve all terms: photos by identity where one term asks for them."""
        needs = [term.objective.needs for term in self.terms.values()]
        return Needs(
            plan="identities" if any(one.plan == "identities" for one in needs) else "rows",
            layout=next((one.layout for one in needs if one.layout is not None), None),
            columns=tuple(sorted({column for one in needs for column in one.columns})),
        )

    @property
    def sample_rate(self) -> float | None:
        return next((rate for term in self.terms.values() if (rate := term.objective.sample_rate) is not None), None)

    def check(
        self, run: "TrainingSettings", *, ranks: int, num_classes: int | None = None, at: str = "objective"
    ) -> None:
        for name, term in self.terms.items():
            term.objective.check(run, ranks=ranks, num_classes=num_classes, at=f"{at}.terms.{name}.objective")


OBJECTIVES["sum"] = Kind(SumSettings, "training.objectives.weighted_sum:build")  # of the kinds above


def half_step_pictures(batch: int) -> int:
    """Pictures that a rank writes into F2C's pool at once: one of each identity, and the larger half of the others."""
    return batch + math.ceil(batch / 2)
