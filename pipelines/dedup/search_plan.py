"""The plan of a hash search: sampled bits and number of tables, by expected recall and cost.

Two hashes at distance d agree in k sampled bits with probability C(256 - d, k) / C(256, k). The tables of one group
sample disjoint bits, which misses fewer pairs than independent tables do; groups are independent of one another.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil, comb, log, log2

import numpy as np

from pipelines.arrays import IntArray, UInt64Array
from pipelines.dedup.hamming import distances
from pipelines.dedup.hash_search import Table, bit_order, table_of
from pipelines.dedup.settings import DedupSettings
from pipelines.records import HASH_BITS

SAMPLE_HASHES = 2000  # whose distances are measured, since the bits of real hashes correlate

# Core-seconds, measured at ten million hashes, more than a cache holds; only their ratios matter.
_SORT = 40e-9  # one entry of one table
_FILTER = 20e-9  # an old entry of one table, most of which share no bucket with a new one
_COMPARE = 150e-9  # two entries of a bucket, in random order in memory
_COMPARE_ALL = 40e-9  # two entries, in order in memory
_SHUFFLE = 5e-6  # moving an entry to the block of one group
_GROUP = 0.1
_MAX_SECONDS_ALL = 3.0  # for comparing all with all, which misses nothing


@dataclass(frozen=True)
class SearchPlan:
    """The numbers of groups, of tables in each, and of sampled bits of each table."""

    bits: int  # 0 = all entries are compared with all
    tables: int  # of each group
    groups: int
    prefix_bits: int  # shared by all tables of a group: a task searches the entries that agree in them
    recall: float  # expected share of the pairs at exactly the largest distance that is found
    candidates: float  # expected number of pairs in one bucket that are further apart


def plan_search(sample: "HashSample", settings: DedupSettings) -> SearchPlan:
    """The plan with the least expected time among those that reach `settings.min_recall`."""
    pairs = sample.num_pairs
    num_hashes = sample.num_new + sample.num_old
    overfull = num_hashes / settings.max_hashes_per_task
    if overfull <= 1 and pairs * _COMPARE_ALL <= _MAX_SECONDS_ALL:
        return SearchPlan(bits=0, tables=1, groups=1, prefix_bits=0, recall=1.0, candidates=float(pairs))
    # Blocks are not all of one size: on average they are half full.
    prefix_bits = 0 if overfull <= 1 else ceil(log2(2 * overfull))
    plans = []
    for bits in range(6, 48):
        chance = _agreement(bits + prefix_bits, sample, settings.max_distance)
        for tables in range(1, (HASH_BITS - prefix_bits) // bits + 1):
            found = group_recall(bits, tables, prefix_bits, settings.max_distance)
            if found > 1e-6:
                groups = max(1, ceil(log(1 - settings.min_recall) / log(1 - min(found, 1 - 1e-12))))
                plan = SearchPlan(
                    bits=bits,
                    tables=tables,
                    groups=groups,
                    prefix_bits=prefix_bits,
                    recall=1 - (1 - found) ** groups,
                    candidates=groups * tables * pairs * chance,
                )
                plans.append((_seconds(plan, sample), bits, tables, plan))
    return min(plans)[-1]


@dataclass(frozen=True)
class HashSample:
    """The numbers of distinct hashes, and a sample of their distances."""

    num_new: int
    num_old: int
    distances: IntArray  # (257,), number of sampled pairs at each distance

    @property
    def num_pairs(self) -> float:
        """Comparisons of all with all: plain with plain, and plain with mirrored both ways; never old with old."""
        return 1.5 * self.num_new**2 + 3.0 * self.num_new * self.num_old


def measure_distances(plain: UInt64Array, flipped: UInt64Array) -> IntArray:
    """Histogram (257,) of the distances of plain hashes to the following plain and mirrored ones."""
    counts = np.zeros(HASH_BITS + 1, dtype=np.int64)
    for row in range(len(plain) - 1):
        for others in (plain, flipped):
            counts += np.bincount(distances(plain[row : row + 1], others[row + 1 :]), minlength=HASH_BITS + 1)
    return counts


def tables_of(plan: SearchPlan, group: int) -> tuple[list[int], list[Table]]:
    """The bit positions that all tables of a group share, and the tables."""
    order = bit_order(f"group {group}")
    prefix, rest = order[: plan.prefix_bits], order[plan.prefix_bits :]
    return prefix, [table_of(rest[start * plan.bits : (start + 1) * plan.bits]) for start in range(plan.tables)]


@cache
def group_recall(bits: int, tables: int, prefix_bits: int, distance: int) -> float:
    """The probability that hashes at a distance agree in the prefix and in at least one table of a group.

    Inclusion and exclusion over the tables of B = 256 - prefix bits, by the ways to place the d differing bits:
    sum over j >= 1 of (-1)^(j+1) C(tables, j) C(B - j bits, d) / C(256, d).
    """
    among = HASH_BITS - prefix_bits
    # In whole numbers until the last step: the terms alternate and are far larger than their sum.
    ways: int = sum(
        (-1) ** (chosen + 1) * comb(tables, chosen) * comb(among - chosen * bits, distance)
        for chosen in range(1, tables + 1)
    )
    return ways / comb(HASH_BITS, distance)


def _agreement(bits: int, sample: HashSample, max_distance: int) -> float:
    """The probability that two hashes of the sample beyond `max_distance` agree in the bits of a table."""
    far = sample.distances[max_distance + 1 :]
    chances = [comb(HASH_BITS - d, bits) / comb(HASH_BITS, bits) for d in range(max_distance + 1, HASH_BITS + 1)]
    return float(np.dot(far, np.array(chances))) / max(1, int(far.sum()))


def _seconds(plan: SearchPlan, sample: HashSample) -> float:
    entries = 2 * (sample.num_new * _SORT + sample.num_old * _FILTER) * plan.tables
    if plan.prefix_bits:
        entries += 2 * (sample.num_new + sample.num_old) * _SHUFFLE
    return plan.groups * (entries + _GROUP) + plan.candidates * _COMPARE
