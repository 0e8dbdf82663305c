"""The settings of the search for copies."""

from pydantic import Field

from pipelines.settings import Settings


class DedupSettings(Settings):
    """When two pictures are the same one, and how thoroughly such are looked for."""

    # 31 of 256 bits is PDQ's threshold; 16 is the strict preset. The bound is where chance meetings begin.
    max_distance: int = Field(default=31, ge=0, le=48)
    # Flat pictures all look alike to the hash; below this they are only compared by their pixels.
    min_hash_quality: float = Field(default=50.0, ge=0, le=100)
    # Expected share that is found of the pairs at exactly the largest distance; of closer pairs it is more.
    min_recall: float = Field(default=0.995, ge=0.5, le=0.9999)
    # Such a task takes about 120 bytes of memory per hash.
    max_hashes_per_task: int = Field(default=20_000_000, ge=100, le=1 << 28)
