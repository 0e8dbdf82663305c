"""The classes of a shard that take part in a step: those of the batch, and others at random."""

import numpy as np

from pipelines.arrays import IntArray


def sample_rows(positive_P: IntArray, *, num_rows: int, num_sample: int, key: tuple[int, ...]) -> IntArray:
    """The positives and, up to ``num_sample`` in all, others that ``key`` alone draws; sorted, each once.

    Not as in Partial FC (arXiv 2010.05222, section 3.3), which ranks random numbers for every row of the shard: the
    rows that are no positives are cut into equal runs, and one is drawn of each, in time of the sample only.

    Args:
        positive_P: sorted, each once; may be more than ``num_sample``, and are all taken even so.
    """
    assert num_sample <= num_rows
    num_fill = num_sample - len(positive_P)
    if num_fill <= 0:
        return positive_P
    num_others = num_rows - len(positive_P)
    edges = np.arange(num_fill + 1, dtype=np.int64) * num_others // num_fill
    others = np.random.default_rng(key).integers(edges[:-1], edges[1:])
    # The r-th of the rows that are no positives: as many positives lie before it as have at most r others before them.
    others += np.searchsorted(positive_P - np.arange(len(positive_P)), others, side="right")
    return np.sort(np.concatenate([positive_P, others]))
