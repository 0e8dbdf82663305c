"""The settings of the strategies."""

from typing import Literal

from pydantic import Field

from pipelines.settings import Settings


class StrategySettings(Settings):
    """Which strategy, and how it talks."""

    name: Literal["allreduce"] = "allreduce"
    bucket_mib: float = Field(default=16.0, gt=0, le=1024)  # MiB of gradients per collective
    wire: Literal["same", "fp16"] = "same"  # fp16: gradients are sent rounded to float16, in half the bytes
