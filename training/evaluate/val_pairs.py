"""Pairs drawn from the val split of a dataset: as many of one person as of two, folds that share no person.

The drawn pairs depend on the seed, the labels and the image_ids alone, not on the order of the rows.
"""

import hashlib
import itertools
import operator
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.arrays import BoolArray, IntArray
from pipelines.columns import STANDARD
from pipelines.records import IMAGE_ID, LABEL
from pipelines.settings import UserError
from training.evaluate.pairs import PairSet, Pictures
from training.feed.location import Location
from training.feed.shards import Piece, Rows, read_columns, row_groups

SPLIT = "val"
# Two rows are drawn at random until they are a new pair; a split that holds enough pairs needs few attempts.
ATTEMPTS_PER_PAIR = 50


@dataclass(frozen=True)
class Draw:
    """P drawn pairs of rows."""

    left: IntArray  # (P,)
    right: IntArray  # (P,)
    is_same: BoolArray  # (P,)
    fold: IntArray  # (P,)
    folds_share_people: bool


_Row = tuple[Piece, int]  # row group, row within it


def load_val_pairs(dataset: Location, *, num_pairs: int, folds: int, seed: int) -> PairSet:
    """Draw pairs from a dataset's val split; pictures are read lazily.

    Args:
        num_pairs: at most; fewer where the split holds fewer.

    Raises:
        UserError: the split is too small to draw from, or cannot be read.
    """
    pieces = row_groups(dataset, SPLIT)
    labels, image_ids = _read_names(pieces)
    rows = [(piece, row) for piece in pieces for row in range(piece.rows)]
    draw = draw_pairs(labels, image_ids, num_pairs=num_pairs, folds=folds, seed=seed)
    used, place = np.unique(np.concatenate([draw.left, draw.right]), return_inverse=True)
    picked = [rows[row] for row in used]
    return PairSet(
        pictures=Pictures([image_ids[row] for row in used], lambda start, stop: _read_images(picked[start:stop])),
        left=place[: len(draw.left)],
        right=place[len(draw.left) :],
        is_same=draw.is_same,
        fold=draw.fold,
        about=f"{len(draw.left):,} pairs drawn from the {SPLIT} split, {folds} folds"
        + (" that share people, as there are too few" if draw.folds_share_people else " that share no person"),
    )


def draw_pairs(labels: Sequence[int], image_ids: Sequence[str], *, num_pairs: int, folds: int, seed: int) -> Draw:
    """Draw pairs of rows, half of them of one label; folds share no label where there are two labels for each.

    Raises:
        UserError: no label has two rows, or there is only one label.
    """
    people = _people(labels, image_ids, seed=seed)
    are_apart = len(people) >= 2 * folds
    pools = [people[fold::folds] for fold in range(folds)] if are_apart else [people]
    count = num_pairs // 2 // len(pools)
    drawn = []
    for number, pool in enumerate(pools):
        same = list(itertools.islice(_same_pairs(pool), count))
        # Balanced by the rarer kind, which is nearly always `same`.
        different = _different_pairs(pool, len(same), random.Random(f"{seed} {number}"))
        for place, (one, two) in enumerate(zip(same, different, strict=False)):
            fold = number if are_apart else place % folds
            drawn += [(*one, True, fold), (*two, False, fold)]
    if len({fold for *_, fold in drawn}) < folds:
        raise UserError(
            f"the {SPLIT} split ({len(labels)} pictures, {len(people)} people) has too few pairs for {folds} folds: "
            "lower folds, raise curate.split.val_fraction, or judge on pairs=pairs_txt or pairs=bin"
        )
    left, right, is_same, fold_of = (np.array(column) for column in zip(*drawn, strict=True))
    return Draw(left, right, is_same, fold_of, folds_share_people=not are_apart)


def _people(labels: Sequence[int], image_ids: Sequence[str], *, seed: int) -> list[list[int]]:
    """The rows of each label; labels and rows in an order that follows from their content and the seed."""
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in sorted(range(len(labels)), key=lambda row: _rank(seed, image_ids[row])):
        rows_of[labels[row]].append(row)
    return [rows_of[label] for label in sorted(rows_of, key=lambda label: _rank(seed, str(label)))]


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def _same_pairs(people: Iterable[list[int]]) -> Iterator[tuple[int, int]]:
    """Every pair of one person once; persons take turns, so that one with many pictures has no more weight."""
    turns = [_pairs_of(rows) for rows in people if len(rows) > 1]
    while turns:
        waiting = []
        for turn in turns:
            pair = next(turn, None)
            if pair is not None:
                yield pair
                waiting.append(turn)
        turns = waiting


def _pairs_of(rows: list[int]) -> Iterator[tuple[int, int]]:
    # Neighbours first: the first pairs of a person show as many different pictures as possible.
    for gap in range(1, len(rows)):
        yield from zip(rows, rows[gap:], strict=False)


def _different_pairs(people: list[list[int]], count: int, rng: random.Random) -> list[tuple[int, int]]:
    if len(people) < 2:
        return []
    pairs: dict[tuple[int, int], None] = {}  # an ordered set
    for _ in range(count * ATTEMPTS_PER_PAIR):
        if len(pairs) == count:
            break
        left, right = (rng.choice(rows) for rows in rng.sample(people, 2))
        pairs[min(left, right), max(left, right)] = None
    return list(pairs)


def _read_names(pieces: Sequence[Piece]) -> tuple[list[int], list[str]]:
    """The labels and image_ids of all rows."""
    tables = [read_columns(piece, (LABEL, IMAGE_ID)) for piece in pieces]
    labels = [label for table in tables for label in table[LABEL].to_pylist()]
    return labels, [image_id for table in tables for image_id in table[IMAGE_ID].to_pylist()]


def _read_images(rows: Sequence[_Row]) -> list[bytes]:
    images = []
    for piece, picked in itertools.groupby(rows, key=operator.itemgetter(0)):
        group = Rows(piece, read_columns(piece, STANDARD))
        images += [bytes(group.image(row)) for _, row in picked]
    return images
