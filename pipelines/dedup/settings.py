"""The settings of the search for duplicates."""

from pydantic import Field

from pipelines.settings import Settings


class DedupSettings(Settings):
    """The distance and residual at which two pictures are duplicates, and the recall and memory of the search."""

    # 31 of 256 bits is PDQ's threshold; 16 is the strict preset. Above the bound unrelated pictures become pairs.
    max_distance: int = Field(default=31, ge=0, le=48)
    # The part of one thumbnail that the other does not explain (`residual.residuals`): of 1,000 altered copies 992 have
    # less. None (null) = the hashes alone decide.
    max_residual: float | None = Field(default=0.3, ge=0)
    # Flat pictures have similar hashes; below this quality they are compared by their pixels only.
    min_hash_quality: float = Field(default=50.0, ge=0, le=100)
    # Expected share of the pairs at exactly the largest distance that is found; more of the closer ones are.
    min_recall: float = Field(default=0.995, ge=0.5, le=0.9999)
    # A task takes about 120 bytes of memory per hash.
    max_hashes_per_task: int = Field(default=20_000_000, ge=100, le=1 << 28)
