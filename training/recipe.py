"""The recipe: the numbers of a training run, whatever the model, the objective and the ranks."""

from typing import Self

from pydantic import Field, model_validator

from pipelines.settings import Settings
from training.optim import OptimiserSettings
from training.precision import Precision
from training.schedule import ScheduleSettings


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
