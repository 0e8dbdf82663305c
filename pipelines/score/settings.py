"""The settings of the scores that embeddings give."""

from pydantic import Field

from pipelines.settings import Settings


class ScoreSettings(Settings):
    """What is kept of all that could be said; the thresholds that decide lie in `curate`."""

    # Of an identity's pictures, those farthest from its mean, that have no say in where its centre is.
    trim: float = Field(default=0.3, ge=0, lt=1)
    # Of two whitened centres that become a row of MERGES. What to expect of one person falls with the number of
    # identities (CFP: 0.47 at 160, 0.2 at 10), so it is the prominence that a threshold should be set on.
    min_merge_cosine: float = Field(default=0.2, ge=-1, le=1)
    min_neighbour_cosine: float = Field(default=0.5, ge=-1, le=1)  # of two pictures that become a row of NEIGHBOURS
    # Of what a picture or a centre is close to, so many of the closest: else a thousand pictures of one person would
    # make half a million rows.
    neighbours: int = Field(default=32, ge=1, le=10_000)
    vectors_per_cell: int = Field(default=16384, ge=16, le=1_000_000)  # so many in all are compared each with each
    cells_per_vector: int = Field(default=2, ge=1, le=16)  # the nearest ones, where there are several
