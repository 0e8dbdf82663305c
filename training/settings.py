"""The settings of a training run: the recipe, and all sections that training reads.

The defaults of the recipe are for large face sets on GPUs: SGD at 0.1 per 512 images, falling straight to zero.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.kinds import Kind, Kinds
from pipelines.settings import Settings
from training.feed.settings import FeedSettings
from training.models.settings import ModelSettings
from training.objectives.head_settings import ArcFaceSettings
from training.objectives.settings import AnyObjective
from training.strategies.settings import AllReduceSettings, AnyStrategy

Precision = Literal["fp32", "bf16", "fp16"]


class OptimiserSettings(Settings):
    """Settings that every optimiser has; the learning rate comes from the schedule at every step."""

    name: str
    weight_decay: float = Field(default=0.0005, ge=0, le=1)  # per step, times the learning rate
    clip_norm: float | None = Field(default=5.0, gt=0)  # largest L2 norm of the averaged gradient; null = any


class SgdSettings(OptimiserSettings):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0: set nesterov to false, or raise momentum")
        return self


class AdamWSettings(OptimiserSettings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    name: Literal["adamw"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # decay of the first moment, beta 1


OPTIMISERS: Kinds[OptimiserSettings] = Kinds(
    "name",
    {"sgd": Kind(SgdSettings, "training.optim:build_sgd"), "adamw": Kind(AdamWSettings, "training.optim:build_adamw")},
    default="sgd",
)


class ScheduleSettings(Settings):
    """Settings that every schedule has; lengths in epochs, so that they hold for every batch size."""

    kind: str
    base_lr: float = Field(default=0.1, gt=0)  # for a global batch of reference_batch_size; scaled linearly
    reference_batch_size: int = Field(default=512, ge=1)  # images
    warmup_epochs: float = Field(default=2.0, ge=0)  # linear rise, a little at every step
    warmup_from: Literal["zero", "base_lr"] = "zero"  # rate at which the rise begins; "base_lr" is Goyal's


class CosineSettings(ScheduleSettings):
    """Half a cosine from the peak to the end (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    final_fraction: float = Field(default=0.0, ge=0, le=1)  # of the peak, at the end


class StepSettings(ScheduleSettings):
    """A constant rate that falls by a factor at some epochs."""

    kind: Literal["step"] = "step"
    milestones: tuple[float, ...] = Field(min_length=1)  # epochs at which the rate is multiplied by gamma
    gamma: float = Field(default=0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones are {list(self.milestones)}; they must rise")
        return self


class PolynomialSettings(ScheduleSettings):
    """A power of the remaining share of the training; 1 = a straight line."""

    kind: Literal["polynomial"] = "polynomial"
    power: float = Field(default=1.0, gt=0)
    final_fraction: float = Field(default=0.0, ge=0, le=1)  # of the peak, at the end


SCHEDULES: Kinds[ScheduleSettings] = Kinds(
    "kind",
    {
        "cosine": Kind(CosineSettings, "training.schedule:cosine"),
        "step": Kind(StepSettings, "training.schedule:step"),
        "polynomial": Kind(PolynomialSettings, "training.schedule:polynomial"),
    },
    default="polynomial",
)


class RecipeSettings(Settings):
    """The length of the training, its batches, optimiser and schedule, whatever the model and the objective."""

    epochs: int = Field(default=20, ge=1, le=10_000)  # passes over the training split
    batch_size: int = Field(default=512, ge=1, le=10_000_000)  # images per step over all ranks
    optimiser: Annotated[OptimiserSettings, OPTIMISERS] = SgdSettings()
    schedule: Annotated[ScheduleSettings, SCHEDULES] = PolynomialSettings()
    precision: Precision = "bf16"
    log_every_steps: int = Field(default=10, ge=1)  # steps between two rows of metrics.jsonl
    checkpoint_every_steps: int | None = Field(default=None, ge=1)  # besides the end of each epoch; null = only there
    keep_checkpoints: int = Field(default=2, ge=1)  # the newest

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs={self.schedule.warmup_epochs:g} is not below epochs={self.epochs}; shorten it"
            )
        return self


class TrainingSettings(Settings):
    """All that training reads."""

    seed: int = Field(default=0, ge=0, lt=2**32)  # of all that is drawn: the split, the order, the first weights
    feed: FeedSettings = FeedSettings()
    model: ModelSettings = ModelSettings()
    objective: AnyObjective = ArcFaceSettings()
    strategy: AnyStrategy = AllReduceSettings()
    recipe: RecipeSettings = RecipeSettings()

    @model_validator(mode="before")
    @classmethod
    def _pictures_have_the_input_size(cls, values: Any) -> Any:
        """Take the size of the feed's pictures from the model where it is not given."""
        if not isinstance(values, dict) or not isinstance(values.get("feed", {}), dict):
            return values
        model, feed = values.get("model", {}), values.get("feed", {})
        size = model.get("input_size_px") if isinstance(model, dict) else model.input_size_px
        decode = feed.get("decode") or {}
        if size is None or not isinstance(decode, dict) or "size_px" in decode:
            return values
        return {**values, "feed": {**feed, "decode": {**decode, "size_px": size}}}

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        shown, taken = self.feed.decode.size_px, self.model.input_size_px
        if shown != taken:
            raise ValueError(
                f"feed.decode.size_px={shown} is not model.input_size_px={taken}; set model.input_size_px alone, "
                "the other follows"
            )
        return self
