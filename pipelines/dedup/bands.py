"""How to find close 256-bit hashes without comparing all: cut them into bands and compare those that agree in one.

Two hashes at distance d fall into one bucket of some band unless the d differing bits hit every band. With more than d
bands that is impossible; with fewer, wider bands there are fewer chance meetings and some loss, which is computed here.
"""

from dataclasses import dataclass
from math import comb

from pipelines.records import HASH_BITS

# Widths that divide 256, from the safest to the most selective.
_BAND_BITS = (8, 16, 32)
_MAX_CANDIDATES_PER_HASH = 2000.0


@dataclass(frozen=True)
class BandPlan:
    """How hashes are cut, and what that costs and finds."""

    bits: int
    bands: int
    recall: float  # share of the pairs at exactly the largest distance that meet in a band
    candidates: float  # expected chance meetings of unrelated hashes, if their bits were random


def plan_bands(num_hashes: int, *, max_distance: int) -> BandPlan:
    """The narrowest bands whose expected chance meetings stay within about 2,000 per hash."""
    plans = [_plan(bits, num_hashes, max_distance) for bits in _BAND_BITS]
    affordable = [plan for plan in plans if plan.candidates <= _MAX_CANDIDATES_PER_HASH * num_hashes]
    return affordable[0] if affordable else plans[-1]


def expected_recall(*, bits: int, distance: int) -> float:
    """The chance that `distance` bits, drawn without replacement, leave at least one band of `bits` untouched.

    Inclusion and exclusion over the untouched bands: sum of (-1)^(k+1) C(bands, k) C(256 - k bits, d) / C(256, d).
    """
    bands = HASH_BITS // bits
    terms = ((-1) ** (k + 1) * comb(bands, k) * comb(HASH_BITS - k * bits, distance) for k in range(1, bands + 1))
    # In whole numbers until the last step: the terms alternate and are far larger than their sum.
    untouched: int = sum(terms)
    return untouched / comb(HASH_BITS, distance)


def _plan(bits: int, num_hashes: int, max_distance: int) -> BandPlan:
    bands = HASH_BITS // bits
    # Plain against plain once, and plain against the mirror image of either.
    pairs = 1.5 * num_hashes * num_hashes
    return BandPlan(
        bits=bits,
        bands=bands,
        recall=expected_recall(bits=bits, distance=max_distance),
        candidates=pairs * bands / 2.0**bits,
    )
