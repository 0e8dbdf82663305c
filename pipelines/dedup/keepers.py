"""The kept picture of each group of duplicates, and the pictures that are duplicates of it.

A connected component can chain pictures that are not alike (a~b~c), so it only limits what is compared: the best
picture of a component is kept, the pictures alike to it are its duplicates, and the same is repeated among the rest.
The result is that of visiting all pairs in the order of quality, whichever pairs connected the component. Where alike
pictures have two names, an election decides which name stays, and the pictures of that name take part again.

All components are resolved at once; each round finds one keeper in each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.arrays import BoolArray, Float64Array, IntArray
from pipelines.dedup.signatures import MISSING, CopyRule, Signatures


@dataclass(frozen=True)
class Votes:
    """The names of the pictures: V entries, at least one per picture, the entries of a picture are neighbours."""

    picture: IntArray  # (V,) ascending
    name: IntArray
    num_rows: IntArray  # number of rows of the picture under this name
    rank: IntArray  # of the most trusted source among them


@dataclass(frozen=True)
class Links:
    """E pairs of pictures that are alike by their embeddings and not by their hashes."""

    left: IntArray
    right: IntArray
    cosine: Float64Array

    def cosines_to(self, keeper: IntArray) -> Float64Array:
        """The cosine (N,) of the link between each picture and its keeper; NaN where there is no link."""
        found = np.full(len(keeper), np.nan)
        for one, other in ((self.left, self.right), (self.right, self.left)):
            is_link = keeper[one] == other
            found[one[is_link]] = self.cosine[is_link]
        return found


# Names, numbers of rows and source ranks of a contested group -> the name that stays, or None.
Elect = Callable[[IntArray, IntArray, IntArray], int | None]


def nearest_reference(signatures: Signatures, references: Signatures, *, rule: CopyRule) -> IntArray:
    """The reference (N,) that each picture is alike to, the nearest and among equals the first; MISSING if none."""
    found = np.full(len(signatures.component), MISSING)
    nearest = np.full(len(found), np.iinfo(np.int64).max)
    first = np.searchsorted(references.component, signatures.component, side="left")
    count = np.searchsorted(references.component, signatures.component, side="right") - first
    for turn in range(count.max(initial=0)):
        rows = np.flatnonzero(count > turn)
        to = first[rows] + turn
        alike = signatures.are_alike(rows, references, to, rule)
        rows, to = rows[alike], to[alike]
        distance = signatures.distances(rows, references, to)
        closer = distance < nearest[rows]
        found[rows[closer]], nearest[rows[closer]] = to[closer], distance[closer]
    return found


class Resolution:
    """The keeper of every picture, and the outcome of the conflicts between names.

    Args:
        signatures: the pictures, the best of each component first.
        is_free: (N,) pictures that take part; the others are decided already.
    """

    def __init__(
        self, signatures: Signatures, votes: Votes, links: Links, is_free: BoolArray, *, rule: CopyRule, elect: Elect
    ) -> None:
        self._signatures, self._votes, self._links = signatures, votes, links
        self._rule, self._elect = rule, elect
        num_pictures = len(signatures.component)
        # (N,) the picture itself where it is kept, MISSING where none of its names stays
        self.keeper = np.full(num_pictures, MISSING)
        self._winner = np.full(num_pictures, MISSING)  # (N,) the picture that its name lost to last
        self.lost_to = np.full(len(votes.picture), MISSING)  # (V,) the picture that won, MISSING where the name stays
        self._open_pictures = np.flatnonzero(is_free)
        self._open_votes = np.flatnonzero(is_free[votes.picture])
        self._open_links = np.arange(len(links.left))
        while len(self._open_pictures):
            self._find_keepers()
        self._follow_lost_names()

    def _find_keepers(self) -> None:
        """One round: keep the best picture that is left in each component, and find its duplicates."""
        pictures = self._open_pictures
        best = _best_of_component(self._signatures.component[pictures], pictures)
        in_group = self._signatures.are_alike(pictures, self._signatures, best, self._rule)
        in_group |= (pictures == best) | self._are_linked(best)
        group, rest = pictures[in_group], pictures[~in_group]
        self.keeper[group] = best[in_group]
        is_decided = np.zeros(len(self.keeper), dtype=bool)
        is_decided[group] = True
        is_counted = is_decided[self._votes.picture[self._open_votes]]
        self._open_votes, votes = self._open_votes[~is_counted], self._open_votes[is_counted]
        elected = np.concatenate([np.empty(0, dtype=np.int64), *self._resolve_conflicts(votes)])
        if len(elected):
            winners = np.unique(self._votes.picture[elected])
            self.keeper[winners] = MISSING
            rest = np.union1d(rest, winners)
            self._open_votes = np.union1d(self._open_votes, elected)
        self._open_pictures = rest

    def _are_linked(self, best: IntArray) -> BoolArray:
        """(open pictures,): true where a link leads to the best picture of the component."""
        state = np.zeros(len(self.keeper), dtype=np.int8)
        state[self._open_pictures] = 1
        state[best] = 2
        left, right = self._links.left[self._open_links], self._links.right[self._open_links]
        is_open = (state[left] > 0) & (state[right] > 0)
        self._open_links, left, right = self._open_links[is_open], left[is_open], right[is_open]
        linked = np.zeros(len(self.keeper), dtype=bool)
        # Links do not leave a component, so the best picture at one end is that of the component.
        linked[right[state[left] == 2]] = True
        linked[left[state[right] == 2]] = True
        found: BoolArray = linked[self._open_pictures]
        return found

    def _resolve_conflicts(self, votes_of_groups: IntArray) -> Iterator[IntArray]:
        """Settle the groups that have two names; yield the votes of the names that stay."""
        votes = self._votes
        head, name = self.keeper[votes.picture[votes_of_groups]], votes.name[votes_of_groups]
        one_name = np.empty(len(self.keeper), dtype=np.int64)
        one_name[head] = name
        is_contested = np.zeros(len(self.keeper), dtype=bool)
        is_contested[head[one_name[head] != name]] = True
        contested = votes_of_groups[is_contested[head]]
        contested = contested[np.argsort(self.keeper[votes.picture[contested]], kind="stable")]
        heads = self.keeper[votes.picture[contested]]
        for of_group in np.split(contested, np.flatnonzero(np.diff(heads)) + 1) if len(contested) else ():
            elected = self._elect(votes.name[of_group], votes.num_rows[of_group], votes.rank[of_group])
            wins = votes.name[of_group] == (MISSING if elected is None else elected)
            pictures = votes.picture[of_group]
            winner = pictures[wins].min() if wins.any() else self.keeper[pictures[0]]
            self.keeper[pictures] = MISSING
            self._winner[pictures] = self.lost_to[of_group[~wins]] = winner
            yield of_group[wins]

    def _follow_lost_names(self) -> None:
        """Point lost names at the keeper of the name that won, or that the winner lost to in a later round."""
        successor = np.where(self.keeper == MISSING, self._winner, self.keeper)
        lost = np.flatnonzero(self.lost_to != MISSING)
        while True:
            final = successor[self.lost_to[lost]]
            if (final == self.lost_to[lost]).all():
                return
            self.lost_to[lost] = final


def _best_of_component(components: IntArray, pool: IntArray) -> IntArray:
    """(len(pool),): the first picture of the component of each picture in the pool."""
    starts = np.flatnonzero(np.r_[True, components[1:] != components[:-1]])
    lengths = np.diff(np.r_[starts, len(pool)])
    best: IntArray = np.repeat(pool[starts], lengths)
    return best


def first_difference(rows: IntArray, keepers: IntArray, criteria: dict[str, NDArray[Any]]) -> IntArray:
    """The index (K,) of the first criterion in which a picture and its keeper differ; len(criteria) where none does."""
    differ = np.stack([values[rows] != values[keepers] for values in criteria.values()])
    found: IntArray = np.where(differ.any(axis=0), differ.argmax(axis=0), len(criteria))
    return found
