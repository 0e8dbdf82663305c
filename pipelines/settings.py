"""The settings of the pipelines: the base of every settings model, and a model for each section.

Imports pydantic and nothing heavy, so that a run's settings are read in milliseconds.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator


class UserError(Exception):
    """A mistake of the user, in one line: the value, the setting and the remedy. Exit code 2."""


class Settings(BaseModel):
    """Settings of one part, declared beside the code that reads them.

    An unknown key, a wrong type or an infinite number is refused when the model is built. Fields carry their unit in
    the name (``_px``, ``_bytes``, ``_seconds``) and their bounds in ``Field``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


@dataclass(frozen=True)
class IsPath:
    """Mark of a field whose texts are paths of this machine, or addresses: relative ones are made absolute."""

    is_beginning: bool = False  # they are the beginning of paths, so that a slash at the end has a meaning


# Pillow refuses more by itself, whatever we allow: twice its own warning level.
_PILLOW_MAX_PIXELS = 178_956_970


class PixelSettings(Settings):
    """The limits of decoding: the first four are checked on the header, the last two hold during decoding."""

    max_bytes: int = Field(default=256 * 2**20, ge=1, le=2**31 - 1)  # encoded
    max_pixels: int = Field(default=50_000_000, ge=1, le=_PILLOW_MAX_PIXELS)  # declared width x height
    max_side_px: int = Field(default=65_500, ge=1, le=65_500)  # libjpeg's own limit
    max_scans: int = Field(default=100, ge=1, le=10_000)  # passes of a progressive JPEG; encoders write about 10
    # For pictures that the helper process decodes (`pipelines.guard`); enough for 50 million pixels in every format.
    max_seconds: float = Field(default=20.0, ge=0.01, le=3_600.0)  # of processor time, independent of the load
    max_decode_bytes: int = Field(default=2 * 2**30, ge=16 * 2**20, le=2**38)  # beyond the idle helper's


class FaceSettings(Settings):
    """The face detector of ingest, and its limits."""

    detector: Literal["none", "haar", "yunet"] = "none"
    model: Path | None = None  # YuNet's ONNX file, at the same path on every host that ingests
    min_score: float = Field(default=0.7, ge=0, le=1)  # of a face, for YuNet; the cascade has no scores
    min_side_px: int = Field(default=32, ge=1, le=65_500)  # of the shorter side of a face's box
    detect_side_px: int = Field(default=640, ge=32, le=4096)  # longer sides are shrunk to this for detection

    @model_validator(mode="after")
    def _yunet_has_its_model(self) -> Self:
        if self.detector == "yunet" and self.model is None:
            raise ValueError("detector=yunet needs model=FILE, YuNet as ONNX; give it, or choose detector=haar")
        return self


_FEWEST_AT_ONCE = 2  # matrix products of a single row round differently


class ShowSettings(Settings):
    """The preprocessing of a picture for a model: the content of the card beside an exported one."""

    size_px: int | None = Field(default=None, ge=8, le=2048)  # side of the square; null = the input side of the model
    crop: float = Field(default=1.0, gt=0, le=1)  # share of the sides to keep, around the middle
    fit: Literal["crop", "stretch"] = "crop"  # makes pictures square: crop the longer side, or stretch the shorter
    mean: float = Field(default=127.5, ge=0, le=255)  # subtracted from each value, 0 to 255
    scale: float = Field(default=127.5, gt=0, le=65_535)  # the difference is divided by this
    channels: Literal["rgb", "bgr"] = "rgb"
    mirror: bool = True  # add the vector of the mirror image, as the LFW protocol of ArcFace does


class EmbedSettings(ShowSettings):
    """The embedding model and its batch size."""

    model: Path | None = None  # ONNX: one input N x 3 x S x S of floats, the first output N x D
    batch_size: int = Field(default=32, ge=_FEWEST_AT_ONCE, le=4096)  # pictures at once, in each worker


class Range(Settings):
    """The range of a measurement, both ends included; null sets no limit."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min={self.min:g} is above max={self.max:g}; lower the one or raise the other")
        return self


def _within(low: float, high: float = inf) -> AfterValidator:
    """A validator for the possible values of a measurement: a limit outside them has a wrong unit."""
    values = f"at least {low:g}" if high == inf else f"between {low:g} and {high:g}"

    def check(given: Range) -> Range:
        for name, limit in (("min", given.min), ("max", given.max)):
            if limit is not None and not low <= limit <= high:
                raise ValueError(f"{name}={limit:g} must be {values}")
        return given

    return AfterValidator(check)


class CleanSettings(Settings):
    """The ranges of the measurements. If only one end of a range is given, the other keeps its default."""

    side_px: Annotated[Range, _within(1)] = Range(min=32)  # of the shorter side
    aspect_ratio: Annotated[Range, _within(1)] = Range(max=3)  # longer side over shorter
    brightness: Annotated[Range, _within(0, 255)] = Range(min=10, max=245)  # mean grey level
    contrast: Annotated[Range, _within(0, 128)] = Range(min=8)  # standard deviation of the grey levels
    entropy: Annotated[Range, _within(0, 8)] = Range(min=3)  # bits of the grey histogram
    # Share of the fullest band of three grey levels; of the 8,747 photos of CFP, ORL and LFW none has more than 0.56.
    dominance: Annotated[Range, _within(0, 1)] = Range(max=0.75)
    blur: Annotated[Range, _within(0)] = Range(min=30)  # variance of the Laplacian at 256 px
    num_faces: Annotated[Range, _within(0)] = Range()  # only if faces.detector is not none
    warnings: Annotated[Range, _within(0)] = Range()  # faults of form of a JPEG that touch no pixel

    @field_validator("*", mode="before")
    @classmethod
    def _keep_what_is_not_given(cls, given: Any, info: ValidationInfo) -> Any:
        default = cls.model_fields[str(info.field_name)].default
        return {**default.model_dump(), **given} if isinstance(default, Range) and isinstance(given, dict) else given


class ConflictSettings(Settings):
    """The policy for conflicts: pictures that are equal or alike and have two names."""

    # The name that stays. drop: none, since the right one is unknown, and one person under two labels costs a face
    # model more than the loss of the pictures. majority: that of the most rows. trusted: that of the most trusted
    # source.
    policy: Literal["drop", "majority", "trusted"] = "drop"
    # Prefixes of the names of sources, the most trusted first.
    trusted: Annotated[tuple[str, ...], IsPath(is_beginning=True)] = ()

    @model_validator(mode="after")
    def _trusted_sources_are_listed(self) -> Self:
        if self.policy == "trusted" and not self.trusted:
            raise ValueError("policy=trusted needs trusted=[...], how the sources begin, the most trusted first")
        return self


class LeakSettings(Settings):
    """The limit of leaks by embeddings; pictures whose hashes are close to the evaluation set's are leaks anyway."""

    min_cosine: float | None = Field(default=None, ge=-1, le=1)  # between the embeddings; null = do not compare them


class SemanticSettings(Settings):
    """The limit of duplicates by embeddings, whose hashes differ: crops, rotations, frames of one film."""

    min_cosine: float | None = Field(default=None, ge=-1, le=1)  # between the embeddings; null = do not compare them


class IdentitySettings(Settings):
    """The limits of outliers and merges by embeddings; null = do not use embeddings.

    The defaults apply if there are embeddings; any other value requires them.
    """

    min_own_cosine: float | None = Field(default=None, ge=-1, le=1)  # of a picture to the centre of its identity
    # Own cosine minus that to the nearest other identity. With a weak model right names are below 0 too.
    min_margin: float | None = Field(default=-0.3, ge=-2, le=2)
    # From this prominence on two identities may be one person: their cosine, normalised by those to the nearest
    # identities, in standard deviations.
    merge_prominence: float | None = Field(default=3.25, ge=0)
    merge: Literal["propose", "apply"] = "propose"  # only count the pairs, or merge their identities


class SplitSettings(Settings):
    """The shares of identities that are held out."""

    val_fraction: float = Field(default=0.05, ge=0, le=0.5)  # of the identities; at least one if not 0
    test_fraction: float = Field(default=0.0, ge=0, le=0.5)


class CurateSettings(CleanSettings):
    """The rules by which records become training pictures."""

    conflicts: ConflictSettings = ConflictSettings()
    leak: LeakSettings = LeakSettings()
    semantic: SemanticSettings = SemanticSettings()
    identities: IdentitySettings = IdentitySettings()
    split: SplitSettings = SplitSettings()
    min_images_per_identity: int = Field(default=2, ge=1)  # a single picture has no positive pair
    # The number of trainings. From the second on, pictures are embedded by the model of the round before, and decided
    # on by the limits of curate.identities, curate.semantic and curate.leak.
    rounds: int = Field(default=1, ge=1, le=9)

    def without_embeddings(self) -> "CurateSettings":
        """The same settings without the limits that need embeddings."""
        nothing = {"leak": LeakSettings(), "semantic": SemanticSettings(), "identities": IdentitySettings()}
        return self.model_copy(update=nothing)


AlignedFormat = Literal["jpeg", "png"]


class ShardSettings(Settings):
    """The layout of a dataset on disk, and the alignment of its pictures."""

    # instance: rows in pseudo-random order of image_id; identity: the rows of an identity are neighbours in one row
    # group, for feeds that draw several pictures of each
    layout: Literal["instance", "identity"] = "instance"
    rows_per_file: int = Field(default=16384, ge=1, le=10_000_000)
    # The unit of reading and of shuffling. With layout=identity about the mean, unless identities are larger.
    rows_per_group: int = Field(default=512, ge=1, le=1_000_000)
    # Side of the square to which faces are aligned, by their landmarks or else their box; of a picture without a face
    # the central square is taken. None = the bytes are stored as found.
    align_px: int | None = Field(default=None, ge=16, le=2048)
    # Around a box without landmarks, as a share of its side. The square that ArcFace's template puts around two eyes is
    # 1.15 times the cascade's box on LFW, 1.27 times on CFP (medians).
    align_margin: float = Field(default=0.2, ge=0, le=4)
    align_format: AlignedFormat = "jpeg"  # of quality 95, 4:4:4
    columns: tuple[str, ...] = ()  # of `pipelines.columns.COLUMNS`, beside the standard ones
