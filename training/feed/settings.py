"""The settings of the feed: pictures, row groups, remote stores."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.settings import IsPath, PixelSettings, Settings


class DecodeSettings(Settings):
    """Decoding: a picture of any size is brought to the input size of the model."""

    size_px: int = Field(default=112, ge=8, le=2048)  # side of the square that the model sees
    crop: float = Field(default=1.0, gt=0.0, le=1.0)  # share of the sides (of the short side, for "crop") that is kept
    fit: Literal["crop", "stretch"] = "crop"  # how a picture that is not square becomes square
    limits: PixelSettings = PixelSettings()  # no tighter than those of the ingest stage, else its pictures are refused


Share = Annotated[float, Field(ge=0.0, le=1.0)]


Positive = Annotated[float, Field(gt=0.0)]


class AugmentSettings(Settings):
    """Random changes of the pictures while training; a probability of 0 switches a change off."""

    flip: Share = 0.5  # probability of mirroring left and right
    crop_area: tuple[Share, Share] = (1.0, 1.0)  # share of the picture's area, uniform; (1, 1) = no random crop
    crop_ratio: tuple[Positive, Positive] = (0.75, 1.3333)  # width by height, log-uniform; used with a random crop
    brightness: Share = 0.0  # largest relative change
    contrast: Share = 0.0  # largest relative change
    saturation: Share = 0.0  # largest relative change
    grey: Share = 0.0  # probability of losing all colour
    blur: Share = 0.0  # probability of a Gaussian blur
    blur_sigma_px: tuple[Positive, Positive] = (0.1, 2.0)
    erase: Share = 0.0  # probability of a grey rectangle
    erase_area: tuple[Share, Share] = (0.02, 0.2)  # share of the picture's area

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in ("crop_area", "crop_ratio", "blur_sigma_px", "erase_area"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is ({low}, {high}); the first number must not be above the second")
        if self.crop_area[0] == 0.0:
            raise ValueError(f"crop_area is {self.crop_area}; a crop must keep some of the picture, so begin above 0")
        return self


class RetrySettings(Settings):
    """Retries of a read after faults that may be transient."""

    tries: int = Field(default=5, ge=1, le=100)  # of each read, the first included
    first_wait_seconds: float = Field(default=0.5, ge=0, le=600)  # doubled with each try; each wait is drawn below it
    longest_wait_seconds: float = Field(default=20.0, ge=0, le=3600)


class RemoteSettings(RetrySettings):
    """Access to a store that is not a folder; credentials come from the environment, as for its other tools."""

    # Of a store that speaks S3 and is not Amazon's, such as http://minio:9000; null = Amazon's.
    s3_endpoint: str | None = Field(default=None, pattern=r"^https?://[^/]+/?$")
    s3_region: str | None = None  # null = as the environment says
    connect_timeout_seconds: float = Field(default=5.0, ge=1, le=600)
    # Without a byte for so long a request has failed; a process cannot end before. Whole seconds count.
    request_timeout_seconds: float = Field(default=20.0, ge=1, le=3600)


class WhereSettings(Settings):
    """A predicate: only rows for which every part is true are fed."""

    # Of the pictures, whatever their label; a smaller share is part of every larger one.
    share: float = Field(default=1.0, gt=0.0, le=1.0)
    # From the first label up to, not including, the second; null = all. A head has centres for the others all the same.
    labels: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _labels_rise(self) -> Self:
        if self.labels is not None and not 0 <= self.labels[0] < self.labels[1]:
            raise ValueError(f"labels is {list(self.labels)}; give the first label and the one after the last")
        return self

    @property
    def is_everything(self) -> bool:
        return self.share == 1.0 and self.labels is None


class FeedSettings(Settings):
    """From shards to batches."""

    decode: DecodeSettings = DecodeSettings()
    augment: AugmentSettings = AugmentSettings()
    threads: int = Field(default=1, ge=1, le=256)  # that decode, per rank
    reader_threads: int = Field(default=1, ge=1, le=64)  # that read row groups, per rank; more for far stores
    # Row groups mixed at a time, over all ranks together; these lie in memory, encoded. There are at least
    # gcd(global_batch_size, 48), one for each stream of the plan.
    shuffle_row_groups: int = Field(default=64, ge=1, le=65536)
    prefetch_batches: int = Field(default=2, ge=1, le=64)
    # Path or address of the dataset if it is not in the store, such as s3://bucket/prefix.
    location: Annotated[str | None, IsPath()] = Field(default=None, min_length=1)
    remote: RemoteSettings = RemoteSettings()
    # A row group that takes longer, with all its tries, ends the run.
    max_stall_seconds: float = Field(default=300.0, gt=0, le=86_400)
    # Damaged pictures that a rank may replace by others in one epoch (see `bad_rows`); 0 = none.
    max_bad_rows: int = Field(default=0, ge=0)
    where: WhereSettings = WhereSettings()  # which rows are fed
    # Number of photos of each identity, side by side in a batch; needs shard.layout=identity. null = single pictures.
    photos_per_identity: int | None = Field(default=None, ge=1, le=1024)
    # The part of the split that every rank keeps in memory once it was read: nothing, the encoded pictures, or these
    # and the decoded ones. Later epochs of a small set that is kept read (and decode) nothing.
    keep: Literal["none", "encoded", "decoded"] = "none"
    keep_bytes: int = Field(default=4 * 2**30, ge=1)  # that a rank may keep; a larger set is refused
    # Folder on a near disk for the row groups of a far dataset, shared by the ranks of a host; null = none.
    cache_dir: Path | None = None
    cache_bytes: int = Field(default=64 * 2**30, ge=1)  # in that folder; the longest unused row groups make room

    @model_validator(mode="after")
    def _crops_are_not_kept(self) -> Self:
        if self.keep == "decoded" and self.augment.crop_area[0] < 1.0:
            raise ValueError(
                f"keep=decoded keeps whole pictures, and augment.crop_area={list(self.augment.crop_area)} decodes "
                "another part each time; set keep=encoded, or augment.crop_area=[1,1]"
            )
        return self
