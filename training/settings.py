"""The settings of a training run, whatever the model, the objective and the ranks."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.settings import Settings

Precision = Literal["fp32", "bf16", "fp16"]


class OptimiserSettings(Settings):
    """The update rule; the learning rate comes from the schedule at every step."""

    name: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # sgd's; the first moment's decay (beta 1) of adamw
    nesterov: bool = False  # sgd only
    weight_decay: float = Field(default=0.0005, ge=0, le=1)  # per step, times the learning rate
    clip_norm: float | None = Field(default=None, gt=0)  # largest L2 norm of the averaged gradient; null = any

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs sgd with a momentum above 0: set nesterov to false, or choose these")
        return self


class ScheduleSettings(Settings):
    """How the learning rate rises and falls; lengths in epochs, so that they hold for every batch size."""

    base_lr: float = Field(default=0.1, gt=0)  # for a global batch of reference_batch_size; scaled linearly
    reference_batch_size: int = Field(default=256, ge=1)  # images
    warmup_epochs: float = Field(default=0.0, ge=0)  # linear rise, a little at every step
    warmup_from: Literal["zero", "base_lr"] = "zero"  # where the rise begins; "base_lr" is Goyal's
    kind: Literal["cosine", "step", "polynomial"] = "cosine"
    milestones: tuple[float, ...] = ()  # step: epochs at which the rate is multiplied by gamma
    gamma: float = Field(default=0.1, gt=0, le=1)  # step
    power: float = Field(default=1.0, gt=0)  # polynomial
    final_fraction: float = Field(default=0.0, ge=0, le=1)  # of the peak, where cosine and polynomial end

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if (self.kind == "step") != bool(self.milestones):
            raise ValueError("milestones belong to the step schedule, which needs at least one, such as [30, 60, 80]")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones are {list(self.milestones)}; they must rise")
        return self


class RecipeSettings(Settings):
    """How long, in what batches, by which optimiser and schedule."""

    epochs: int = Field(default=20, ge=1, le=10_000)  # passes over the training split
    batch_size: int = Field(default=256, ge=1, le=10_000_000)  # images per step over all ranks
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    precision: Precision = "fp32"
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
