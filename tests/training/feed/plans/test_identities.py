"""Identity batches: every identity once, different photos, the same for every world size; the oracle is counting."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.manifest import Manifest, write
from pipelines.parquet import write_table
from pipelines.settings import UserError
from training.feed.location import Location
from training.feed.plans.identities import Identities, IdentityOrder, read_identities
from training.testing.steps import rows_of

layouts = st.lists(st.lists(st.integers(1, 9), min_size=0, max_size=6), min_size=1, max_size=12).filter(
    lambda groups: any(groups)
)


def identities(groups: list[list[int]]) -> Identities:
    """Row groups given by the numbers of photos of their identities."""
    flat = [(group, sum(sizes[:place]), size) for group, sizes in enumerate(groups) for place, size in enumerate(sizes)]
    return Identities(*np.array(flat, dtype=np.int64).reshape(-1, 3).T)


def order(groups: list[list[int]], *, people: int, photos: int, mixed: int = 24, seed: int = 0) -> IdentityOrder:
    return IdentityOrder(
        identities(groups), num_groups=len(groups), seed=seed, global_batch_size=people * photos, photos=photos,
        mixed=mixed,
    )  # fmt: skip


def owners(groups: list[list[int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """(row group, row) -> (row group, identity in it)."""
    return {
        (group, row): (group, place)
        for group, sizes in enumerate(groups)
        for place, size in enumerate(sizes)
        for row in range(sum(sizes[:place]), sum(sizes[:place]) + size)
    }


@given(layouts, st.integers(1, 12), st.integers(1, 5), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_a_batch_has_different_photos_of_as_many_identities(
    groups: list[list[int]], people: int, photos: int, mixed: int
) -> None:
    owner = owners(groups)
    num_identities = sum(map(len, groups))
    seen: Counter[tuple[int, int]] = Counter()
    batches = rows_of(order(groups, people=people, photos=photos, mixed=mixed).epoch(3, rank=0, size=1))
    for batch in batches:
        assert len(batch) == people * photos
        for start in range(0, len(batch), photos):
            shown = batch[start : start + photos]
            (who,) = {owner[row] for row in shown}
            size = groups[who[0]][who[1]]
            assert len(set(shown)) == min(size, photos)
            assert max(Counter(shown).values()) == -(-photos // size)
            seen[who] += 1
    assert len(batches) == max(1, num_identities // people)
    assert max(seen.values()) <= -(-people // num_identities)


@given(layouts, st.integers(1, 3), st.integers(1, 4), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_every_world_size_has_the_same_photos_in_each_global_step(
    groups: list[list[int]], twelfths: int, photos: int, mixed: int
) -> None:
    plan = order(groups, people=12 * twelfths, photos=photos, mixed=mixed)
    expected = rows_of(plan.epoch(1, rank=0, size=1))
    for size in (2, 3, 4):
        ranks = [rows_of(plan.epoch(1, rank=rank, size=size)) for rank in range(size)]
        assert [[row for part in parts for row in part] for parts in zip(*ranks, strict=True)] == expected


@given(layouts, st.integers(1, 6), st.data())
@settings(max_examples=30, deadline=None)
def test_a_resumed_epoch_is_the_rest(groups: list[list[int]], people: int, data: st.DataObject) -> None:
    plan = order(groups, people=people, photos=2)
    start = data.draw(st.integers(0, plan.steps_per_epoch))
    assert rows_of(plan.epoch(5, rank=0, size=1, start_step=start)) == rows_of(plan.epoch(5, rank=0, size=1))[start:]


def test_all_pairs_of_photos_of_an_identity_come_equally_often() -> None:
    plan = order([[7], [7]], people=2, photos=2)
    pairs: Counter[tuple[int, int]] = Counter()
    for epoch in range(4_000):
        for batch in rows_of(plan.epoch(epoch, rank=0, size=1)):
            pairs.update((left[1], right[1]) for left, right in zip(batch[::2], batch[1::2], strict=True))
    assert len(pairs) == 42
    assert scipy.stats.chisquare(list(pairs.values())).pvalue > 1e-3


def test_a_photo_that_is_shown_again_beside_itself_is_changed_in_another_way() -> None:
    groups = [[1, 3], [5, 2]]
    plan = order(groups, people=4, photos=5)
    (step,) = plan.epoch(2, rank=0, size=1)
    (shown,) = rows_of([step])
    before = Counter[tuple[int, int]]()
    expected = []
    for row in shown:
        expected.append(before[row])
        before[row] += 1
    assert step.variants is not None
    assert step.variants.tolist() == expected
    assert sorted(before.values()) == [1] * 5 + [1, 2, 2] + [2, 3] + [5]


def test_every_identity_comes_once_an_epoch_however_many_photos_it_has() -> None:
    groups = [[1, 30, 2], [5, 5, 5], [100]]
    plan = order(groups, people=7, photos=3)
    owner = owners(groups)
    for epoch in range(20):
        (batch,) = rows_of(plan.epoch(epoch, rank=0, size=1))
        assert len({owner[row] for row in batch}) == 7


def test_epochs_and_seeds_draw_other_photos() -> None:
    groups = [[20] * 10] * 3
    draws = [
        tuple(map(tuple, rows_of(order(groups, people=5, photos=2, seed=seed).epoch(epoch, rank=0, size=1))))
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len(set(draws)) == 9
    # Nor are the photos merely other because the identities come in another order.
    owner = owners(groups)
    firsts = [{owner[row]: row for batch in draw for row in batch[::2]} for draw in draws]
    for one, other in pairwise(firsts):
        shared = one.keys() & other.keys()
        assert sum(one[who] == other[who] for who in shared) < len(shared) / 3


def test_seeds_and_epochs_put_the_identities_in_another_order() -> None:
    orders = {
        tuple(row for batch in rows_of(order([[1] * 20], people=4, photos=1, seed=seed).epoch(epoch, rank=0, size=1))
              for row in batch)
        for seed in range(3)
        for epoch in range(3)
    }  # fmt: skip
    assert len(orders) == 9


def test_a_step_touches_few_row_groups() -> None:
    groups = [[4] * 50] * 200
    plan = order(groups, people=48, photos=4, mixed=8)
    held = 0
    most = 0
    for step in plan.epoch(0, rank=0, size=1):
        held += len(step.opens)
        most = max(most, held)
        held -= len(step.closes)
    assert most <= 2 * 48 + 1


def write_labels(folder: Path, **columns: list[object]) -> None:
    file = write_table(pa.table(columns), folder, "labels")
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}}
    write(folder, Manifest(kind="dataset", fingerprint="d", files=(file,), **content))


def test_identities_are_read_in_the_order_of_their_rows(tmp_path: Path) -> None:
    write_labels(
        tmp_path, split=["train", "val", "train"], label=[1, 0, 0], num_images=[3, 9, 4], row_group=[1, 0, 0],
        first_row=[0, 0, 2],
    )  # fmt: skip
    found = read_identities(Location(tmp_path), "train")
    assert (found.row_group.tolist(), found.first_row.tolist(), found.num_images.tolist()) == ([0, 1], [2, 0], [4, 3])


@pytest.mark.parametrize("columns", [{}, {"row_group": [None], "first_row": [None]}])
def test_a_dataset_of_mixed_identities_is_refused_with_the_remedy(
    tmp_path: Path, columns: dict[str, list[None]]
) -> None:
    write_labels(tmp_path, split=["train"], label=[0], num_images=[3], **columns)
    with pytest.raises(UserError, match=r"needs each whole in a row group; set shard\.layout=identity"):
        read_identities(Location(tmp_path), "train")
