"""The settings of the evaluation."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.settings import Settings

MIN_FOLDS = 2


class EvaluateSettings(Settings):
    """On which pairs of pictures a model is judged, and how they are shown to it."""

    # val: drawn from the dataset's val split; pairs_txt: a folder or tar with an LFW list; bin: a verification pack
    pairs: Literal["val", "pairs_txt", "bin"] = "val"
    path: Path | None = None  # of the folder, tar or pack; the val split needs none
    crop: float = Field(default=1.0, gt=0, le=1)  # share of the pictures' sides that is shown, around the centre
    fit: Literal["crop", "stretch"] = "crop"  # how a picture that is not square becomes square
    folds: int = Field(default=10, ge=MIN_FOLDS, le=100)  # of val and bin; a pairs.txt brings its own
    num_pairs: int = Field(default=6000, ge=4, le=10_000_000)  # drawn from the val split, at most
    seed: int = Field(default=0, ge=0, le=2**63 - 1)  # of the drawing
    batch_size: int = Field(default=128, ge=1, le=65_536)  # pictures per rank and forward pass
    fars: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (1e-1, 1e-2, 1e-3)  # where TAR is stated

    @model_validator(mode="after")
    def _path_goes_with_pairs(self) -> Self:
        if self.pairs != "val" and self.path is None:
            raise ValueError(f"pairs={self.pairs} needs path: the file or folder that holds them")
        if self.pairs == "val" and self.path is not None:
            raise ValueError(
                f"path={self.path} is not read with pairs=val; choose pairs=pairs_txt or pairs=bin, or drop it"
            )
        return self
