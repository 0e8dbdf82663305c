"""The settings of the evaluation: named sets, each with the task by which a model is judged on it."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.kinds import Kind, Kinds
from pipelines.settings import Settings

_SET_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")  # it becomes part of the names of stages and folders
_Share = Annotated[float, Field(gt=0, lt=1)]
_Folds = Annotated[int, Field(ge=2, le=100)]


class SetSettings(Settings):
    """One set of pictures; its task chooses the model of its other settings."""

    task: str
    crop: float = Field(default=1.0, gt=0, le=1)  # share of the pictures' sides that is shown, around the centre
    fit: Literal["crop", "stretch"] = "crop"  # how a picture that is not square becomes square

    @property
    def files(self) -> Path | None:
        """The file or folder that holds the set; None where it is part of the dataset."""
        return None

    @property
    def source_kind(self) -> str | None:
        """The kind of source (`source.kind`) as which the files are read; None where there are none."""
        return None

    @property
    def num_images(self) -> int | None:
        """At most how many pictures are judged, where the files do not say it; for a forecast."""
        return None


class VerificationSettings(SetSettings):
    """Pairs of pictures, of one person or of two; the kind of pairs chooses the model."""

    task: Literal["verification"] = "verification"
    pairs: str = "val"
    fars: tuple[_Share, ...] = (1e-1, 1e-2, 1e-3)  # shares of false accepts at which that of true accepts is stated


class ValPairs(VerificationSettings):
    """Pairs drawn from the val split of the dataset."""

    pairs: Literal["val"] = "val"
    num_pairs: int = Field(default=6000, ge=4, le=10_000_000)  # at most; fewer where the split holds fewer
    folds: _Folds = 10
    seed: int = Field(default=0, ge=0, le=2**63 - 1)  # of the drawing

    @property
    def num_images(self) -> int:
        return 2 * self.num_pairs


class ListedPairs(VerificationSettings):
    """Pairs of a `pairs.txt` in the format of LFW, which brings its own folds."""

    pairs: Literal["pairs_txt"] = "pairs_txt"
    path: Path  # of the folder or tar of the pictures

    @property
    def files(self) -> Path:
        return self.path

    @property
    def source_kind(self) -> str:
        return "folder" if self.path.is_dir() else "tar"


class PackedPairs(VerificationSettings):
    """Pairs of a verification pack, as LFW, CFP-FP and AgeDB-30 are shipped by InsightFace."""

    pairs: Literal["bin"] = "bin"
    path: Path  # of the pack
    folds: _Folds = 10

    @property
    def files(self) -> Path:
        return self.path

    @property
    def source_kind(self) -> str:
        return "pack"


# Builders take (settings, dataset) and give the pairs, a `PairSet`.
PAIRS: Kinds[SetSettings] = Kinds(
    "pairs",
    {
        "val": Kind(ValPairs, "training.tasks.pairs:drawn"),
        "pairs_txt": Kind(ListedPairs, "training.tasks.pairs:listed"),
        "bin": Kind(PackedPairs, "training.tasks.pairs:packed"),
    },
    default="val",
)

# Builders take (settings, context) and give the `Task`.
TASKS: Kinds[SetSettings] = Kinds(
    "task",
    {"verification": Kind(PAIRS, "training.tasks.verification:Verification")},
    default="verification",
)


class EvaluateSettings(Settings):
    """The sets on which a finished model is judged, each by itself."""

    crop: float = Field(default=1.0, gt=0, le=1)  # of the sets that give none
    fit: Literal["crop", "stretch"] = "crop"  # of the sets that give none
    # Name -> set. Where none is named, pairs are drawn from the dataset's val split; null takes a set away again.
    sets: dict[str, Annotated[SetSettings, TASKS]] = Field(default={})
    batch_size: int = Field(default=128, ge=1, le=65_536)  # pictures per rank and forward pass

    @model_validator(mode="before")
    @classmethod
    def _complete_the_sets(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        sets = values.get("sets") or {}
        if not isinstance(sets, dict):
            return values
        sets = {name: one for name, one in sets.items() if one is not None} or {"val": {}}
        shown = {key: values[key] for key in ("crop", "fit") if key in values}
        complete = {name: {**shown, **one} if isinstance(one, dict) else one for name, one in sets.items()}
        return {**values, "sets": complete}

    @model_validator(mode="after")
    def _names_fit_folders(self) -> Self:
        for name in self.sets:
            if not _SET_NAME.fullmatch(name):
                raise ValueError(f"sets.{name}: name a set by small letters, digits and _, at most 100, such as lfw")
        return self
