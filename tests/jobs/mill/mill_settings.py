"""Settings of the test river, of every shape that real ones have."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from jobs.settings import RunSettings
from pipelines.settings import Settings
from pipelines.sources.settings import FolderSettings, Source


class OvenSettings(Settings):
    degrees: float = Field(default=220.0, gt=0, le=300)
    minutes: int = Field(default=40, ge=1)


class BakeSettings(Settings):
    oven: OvenSettings = OvenSettings()
    flour: Literal["rye", "wheat"] = "rye"
    path: Path | None = None
    is_glazed: bool = False
    weights: tuple[float, ...] = (0.1, 1e-5)
    label: str = ""

    @model_validator(mode="after")
    def _rye_is_not_glazed(self) -> Self:
        if self.is_glazed and self.flour == "rye":
            raise ValueError("rye is not glazed: choose wheat, or set is_glazed to false")
        return self


class SaltSettings(Settings):
    grams: int = Field(ge=0)


class BakerySettings(RunSettings):
    source: Source = FolderSettings(path="/nowhere")
    bake: BakeSettings = BakeSettings()
    salt: SaltSettings


class GrindSettings(Settings):
    rows: int = 3
    fault: str = ""
    seconds: float = 0.0  # that it takes
    pids: str = ""
    notes: tuple[str, ...] = ()


class PressSettings(Settings):
    loaves: int = 2


class MillSettings(RunSettings):
    source: Source = FolderSettings(path="/nowhere")
    grind: GrindSettings = GrindSettings()
    press: PressSettings = PressSettings()
