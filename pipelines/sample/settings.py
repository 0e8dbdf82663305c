"""The settings of the drawn sample set."""

from pydantic import Field

from pipelines.settings import Settings


class SampleSettings(Settings):
    """The size of the sample, and the shares of its faults."""

    identities: int = Field(default=60, ge=2, le=1_000_000)
    photos: int = Field(default=20, ge=1, le=10_000)  # clean photos of each identity
    seed: int = Field(default=0, ge=0, lt=2**32)
    min_side_px: int = Field(default=112, ge=64, le=256)  # shortest long side of a photo
    max_side_px: int = Field(default=160, ge=64, le=256)  # longest long side of a photo
    copy_share: float = Field(default=0.02, ge=0.0, le=0.1)  # copies of each kind, per clean photo
    fault_share: float = Field(default=0.005, ge=0.0, le=0.1)  # every other fault, per clean photo
    min_faults: int = Field(default=4, ge=0, le=1000)  # of each kind, even if the shares give fewer
    tar: bool = False  # one images.tar instead of a folder tree
    processes: int = Field(default=1, ge=1, le=256)  # affects the time, never the bytes
