"""The settings of the strategies, one model for each, and the table of them."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.kinds import Kind, Kinds
from pipelines.settings import Settings


class StrategySettings(Settings):
    """The base of the settings of every strategy."""

    name: str

    @property
    def gradient_bytes(self) -> int:
        """Bytes of one value of a gradient on the way between ranks."""
        return 4


class AllReduceSettings(StrategySettings):
    """Synchronous SGD: the ranks average their gradients at every step."""

    name: Literal["allreduce"] = "allreduce"
    bucket_mib: float = Field(default=16.0, gt=0, le=1024)  # MiB of gradients per collective
    wire: Literal["same", "fp16"] = "same"  # fp16: gradients are sent rounded to float16, in half the bytes

    @property
    def gradient_bytes(self) -> int:
        return 2 if self.wire == "fp16" else 4


STRATEGIES: Kinds[StrategySettings] = Kinds(
    "name", {"allreduce": Kind(AllReduceSettings, "training.strategies.allreduce:build")}, default="allreduce"
)

AnyStrategy = Annotated[StrategySettings, STRATEGIES]
