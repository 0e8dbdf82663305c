"""The base of the settings of every objective: its demands on the rest of the run."""

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipelines.settings import Settings
from training.needs import Needs

if TYPE_CHECKING:
    from training.settings import TrainingSettings

Angle = Annotated[float, Field(ge=0, lt=math.pi / 2)]
Scale = Annotated[float, Field(gt=0, le=1024)]  # factor on the cosines


class ObjectiveSettings(Settings):
    """The base of the settings of every objective."""

    name: str

    @property
    def needs(self) -> Needs:
        """The demands on the dataset and the feed."""
        return Needs()

    @property
    def pictures_per_row(self) -> int:
        """Pictures that a step shows for each row of its share of the epoch."""
        return 1

    @property
    def sample_rate(self) -> float | None:
        """The share of the centres that takes part in a step; None = all of them."""
        return None

    @property
    def pool_slots(self) -> int | None:
        """The identities in the pool of features; None = there is no pool."""
        return None

    def check(
        self, run: "TrainingSettings", *, ranks: int, num_classes: int | None = None, at: str = "objective"
    ) -> None:
        """Hold these settings against those of the whole training.

        Args:
            num_classes: identities to train on; None = not known yet.
            at: the key of these settings, for messages.

        Raises:
            UserError: they do not go together.
        """
