"""The evaluation of a backbone as its settings ask for it: pairs, embeddings, figures."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from pipelines.settings import Settings
from training.comm import Comm
from training.evaluate.embed import embed
from training.evaluate.pair_pack import load_pack
from training.evaluate.pairs import MIN_FOLDS, PairSet
from training.evaluate.pairs_txt import load_pairs_txt
from training.evaluate.val_pairs import load_val_pairs
from training.evaluate.verification import VerificationResult, verify
from training.feed.decode import DecodeSettings
from training.feed.location import Location


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


def evaluate(
    backbone: nn.Module, settings: EvaluateSettings, comm: Comm, *, dataset: Location, size_px: int
) -> VerificationResult:
    """Judge a backbone on the settings' pairs; every rank calls it and gets the result.

    Args:
        dataset: where the dataset lies, for the val split.
        size_px: side of the backbone's square input.

    Raises:
        UserError: the pairs are missing, wrong or too few, or a picture cannot be decoded.
    """
    pairs = load_pairs(settings, dataset=dataset)
    decode = DecodeSettings(size_px=size_px, crop=settings.crop, fit=settings.fit)
    embeddings = embed(backbone, pairs.pictures, comm, decode=decode, batch_size=settings.batch_size)
    return verify(pairs, embeddings, fars=settings.fars)


def load_pairs(settings: EvaluateSettings, *, dataset: Location) -> PairSet:
    """The pairs that the settings name.

    Raises:
        UserError: they are missing, wrong or too few.
    """
    if settings.pairs == "val":
        return load_val_pairs(dataset, num_pairs=settings.num_pairs, folds=settings.folds, seed=settings.seed)
    assert settings.path is not None, "the settings see to it"
    if settings.pairs == "bin":
        return load_pack(settings.path, folds=settings.folds)
    return load_pairs_txt(settings.path)
