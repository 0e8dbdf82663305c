"""The settings of the scores by embeddings."""

from pydantic import Field

from pipelines.settings import Settings


class ScoreSettings(Settings):
    """The limits within which pairs are stored, and the cost of the search; decisions are thresholds in `curate`."""

    # The share of an identity's pictures that is left out of its centre: those farthest from the mean.
    trim: float = Field(default=0.3, ge=0, lt=1)
    # Of two whitened centres that become a row of MERGES. The cosine of one person depends on the number of identities
    # (CFP: 0.47 at 160, 0.2 at 10), so set thresholds on the prominence.
    min_merge_cosine: float = Field(default=0.2, ge=-1, le=1)
    min_neighbour_cosine: float = Field(default=0.5, ge=-1, le=1)  # of two pictures that become a row of NEIGHBOURS
    # The closest neighbours of a picture or a centre that count: without a limit a thousand pictures of one person
    # would give half a million rows.
    neighbours: int = Field(default=32, ge=1, le=10_000)
    vectors_per_cell: int = Field(default=16384, ge=16, le=1_000_000)  # so many are compared all with all
    cells_per_vector: int = Field(default=2, ge=1, le=16)  # of several cells, the nearest ones
