"""Who stands behind whom: of pictures that hang together, the best is kept, and what is alike to it follows.

A component can chain pictures that are not alike (a~b~c), so it only says who may be compared: the best of it is the
keeper of those that are alike to itself, and among the rest the same begins anew. What is decided so is that of looking
at every pair in the order of quality, whichever pairs joined the component. Where pictures that are alike have two
names, an election says which name stays, and whoever bears it stands again.

All components are resolved at once, each round naming one keeper in each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.arrays import BoolArray, Float64Array, IntArray, UInt8Array
from pipelines.hashing import hamming

NOBODY = -1


@dataclass(frozen=True)
class Prints:
    """What N pictures are compared by; those of a component lie together."""

    component: IntArray  # (N,) ascending
    hash: UInt8Array  # (N, 32)
    flipped: UInt8Array  # (N, 32) of the mirror image
    hash_is_reliable: BoolArray  # (N,) the picture is not too flat for its hash to say something
    pixels: IntArray  # (N,) the same number = the same pixels; -1 = unknown

    def part(self, rows: IntArray) -> "Prints":
        """Those of some of the pictures."""
        return Prints(
            self.component[rows], self.hash[rows], self.flipped[rows], self.hash_is_reliable[rows], self.pixels[rows]
        )

    def distances(self, rows: IntArray, others: "Prints", to: IntArray) -> IntArray:
        """(K,) bits between these rows and those of `others`, mirrored or not."""
        # The hash of a mirror image is nearly, not exactly, symmetric: both sides are asked, as for the pairs.
        ways = (
            hamming(self.hash[rows], others.hash[to]),
            hamming(self.flipped[rows], others.hash[to]),
            hamming(self.hash[rows], others.flipped[to]),
        )
        nearest: IntArray = np.minimum.reduce(ways).astype(np.int64)
        return nearest

    def have_equal_pixels(self, rows: IntArray, others: "Prints", to: IntArray) -> BoolArray:
        """(K,): their pixels are known and the same."""
        equal: BoolArray = (self.pixels[rows] == others.pixels[to]) & (self.pixels[rows] >= 0)
        return equal

    def are_alike(self, rows: IntArray, others: "Prints", to: IntArray, max_distance: int) -> BoolArray:
        """(K,): within the distance of each other, if their hashes say something, or of equal pixels."""
        alike = self.have_equal_pixels(rows, others, to)
        asked = np.flatnonzero(~alike & self.hash_is_reliable[rows] & others.hash_is_reliable[to])
        alike[asked] = self.distances(rows[asked], others, to[asked]) <= max_distance
        return alike


@dataclass(frozen=True)
class Votes:
    """Under which names the pictures lie; V of them, at least one per picture, those of a picture together."""

    picture: IntArray  # (V,) ascending
    name: IntArray
    num_rows: IntArray  # that lie under this name
    rank: IntArray  # of the most trusted source among them


@dataclass(frozen=True)
class Links:
    """Pairs of pictures that are alike for another reason than their hashes; E of them."""

    left: IntArray
    right: IntArray
    cosine: Float64Array

    def cosines_to(self, keeper: IntArray) -> Float64Array:
        """(N,) the cosine of the link between each picture and its keeper; not a number where there is none."""
        found = np.full(len(keeper), np.nan)
        for one, other in ((self.left, self.right), (self.right, self.left)):
            leads = keeper[one] == other
            found[one[leads]] = self.cosine[leads]
        return found


# The names of a contested group, their rows and their sources' ranks -> the name that stays, or None.
Elect = Callable[[IntArray, IntArray, IntArray], int | None]


def nearest_reference(prints: Prints, references: Prints, *, max_distance: int) -> IntArray:
    """The reference that each picture is alike to, the nearest and then the first of them; (N,), or NOBODY."""
    found = np.full(len(prints.component), NOBODY)
    nearest = np.full(len(found), np.iinfo(np.int64).max)
    first = np.searchsorted(references.component, prints.component, side="left")
    count = np.searchsorted(references.component, prints.component, side="right") - first
    for turn in range(count.max(initial=0)):
        rows = np.flatnonzero(count > turn)
        to = first[rows] + turn
        alike = prints.are_alike(rows, references, to, max_distance)
        rows, to = rows[alike], to[alike]
        distance = prints.distances(rows, references, to)
        closer = distance < nearest[rows]
        found[rows[closer]], nearest[rows[closer]] = to[closer], distance[closer]
    return found


class Resolution:
    """What becomes of the pictures and of their names.

    Args:
        prints: the best of a component first.
        is_free: (N,) pictures that take part; the others are decided already.
    """

    def __init__(
        self, prints: Prints, votes: Votes, links: Links, is_free: BoolArray, *, max_distance: int, elect: Elect
    ) -> None:
        self._prints, self._votes, self._links = prints, votes, links
        self._max_distance, self._elect = max_distance, elect
        num_pictures = len(prints.component)
        self.keeper = np.full(num_pictures, NOBODY)  # (N,) itself where it is kept, NOBODY where no name of it stays
        self._behind = np.full(num_pictures, NOBODY)  # (N,) where the last name that it lost went
        self.lost_to = np.full(len(votes.picture), NOBODY)  # (V,) NOBODY where the name stays
        self._pool = np.flatnonzero(is_free)
        self._ballots = np.flatnonzero(is_free[votes.picture])
        self._edges = np.arange(len(links.left))
        while len(self._pool):
            self._name_keepers()
        self._find_where_the_lost_stand()

    def _name_keepers(self) -> None:
        """One round: the best picture of what is left of each component, and whatever follows it."""
        lead = _leads(self._prints.component[self._pool], self._pool)
        follows = self._prints.are_alike(self._pool, self._prints, lead, self._max_distance) | (self._pool == lead)
        follows |= self._are_linked(lead)
        group, rest = self._pool[follows], self._pool[~follows]
        self.keeper[group] = lead[follows]
        in_group = np.zeros(len(self.keeper), dtype=bool)
        in_group[group] = True
        cast = in_group[self._votes.picture[self._ballots]]
        self._ballots, ballots = self._ballots[~cast], self._ballots[cast]
        again = np.concatenate([np.empty(0, dtype=np.int64), *self._elections(ballots)])
        if len(again):
            winners = np.unique(self._votes.picture[again])
            self.keeper[winners] = NOBODY
            rest = np.union1d(rest, winners)
            self._ballots = np.union1d(self._ballots, again)
        self._pool = rest

    def _are_linked(self, lead: IntArray) -> BoolArray:
        """(len(pool),): has a link to the lead of its component."""
        state = np.zeros(len(self.keeper), dtype=np.int8)
        state[self._pool] = 1
        state[lead] = 2
        left, right = self._links.left[self._edges], self._links.right[self._edges]
        is_open = (state[left] > 0) & (state[right] > 0)
        self._edges, left, right = self._edges[is_open], left[is_open], right[is_open]
        linked = np.zeros(len(self.keeper), dtype=bool)
        # A lead that a link leads to is that of the component, for there is no other one in it.
        linked[right[state[left] == 2]] = True
        linked[left[state[right] == 2]] = True
        found: BoolArray = linked[self._pool]
        return found

    def _elections(self, ballots: IntArray) -> Iterator[IntArray]:
        """Settle the groups that have two names; yields the ballots of those that stand again."""
        votes = self._votes
        head, name = self.keeper[votes.picture[ballots]], votes.name[ballots]
        one_name = np.empty(len(self.keeper), dtype=np.int64)
        one_name[head] = name
        is_contested = np.zeros(len(self.keeper), dtype=bool)
        is_contested[head[one_name[head] != name]] = True
        contested = ballots[is_contested[head]]
        contested = contested[np.argsort(self.keeper[votes.picture[contested]], kind="stable")]
        heads = self.keeper[votes.picture[contested]]
        for of_group in np.split(contested, np.flatnonzero(np.diff(heads)) + 1) if len(contested) else ():
            elected = self._elect(votes.name[of_group], votes.num_rows[of_group], votes.rank[of_group])
            wins = votes.name[of_group] == (NOBODY if elected is None else elected)
            pictures = votes.picture[of_group]
            goes_to = pictures[wins].min() if wins.any() else self.keeper[pictures[0]]
            self.keeper[pictures] = NOBODY
            self._behind[pictures] = self.lost_to[of_group[~wins]] = goes_to
            yield of_group[wins]

    def _find_where_the_lost_stand(self) -> None:
        """Let lost names stand behind the keeper of the name that won, or of the one that this one lost to."""
        beyond = np.where(self.keeper == NOBODY, self._behind, self.keeper)
        lost = np.flatnonzero(self.lost_to != NOBODY)
        while True:
            further = beyond[self.lost_to[lost]]
            if (further == self.lost_to[lost]).all():
                return
            self.lost_to[lost] = further


def _leads(components: IntArray, pool: IntArray) -> IntArray:
    """(len(pool),): the first picture of the component of each."""
    starts = np.flatnonzero(np.r_[True, components[1:] != components[:-1]])
    lengths = np.diff(np.r_[starts, len(pool)])
    leads: IntArray = np.repeat(pool[starts], lengths)
    return leads


def first_difference(rows: IntArray, keepers: IntArray, criteria: dict[str, NDArray[Any]]) -> IntArray:
    """(K,) the number of the first criterion in which a picture and its keeper differ; as many as there are: none."""
    differ = np.stack([values[rows] != values[keepers] for values in criteria.values()])
    found: IntArray = np.where(differ.any(axis=0), differ.argmax(axis=0), len(criteria))
    return found
