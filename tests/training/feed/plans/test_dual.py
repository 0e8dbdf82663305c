"""Both streams of F2C's feed; the oracles are the two orders, computed apart, and counting."""

import hashlib
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.settings import UserError
from training.feed.batch import Batch
from training.feed.feed import Feed
from training.feed.plans.dual import FIRST, IDENTITIES, SECOND, DualOrder
from training.feed.plans.identities import Identities, IdentityOrder
from training.feed.plans.rows import Order
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings
from training.needs import Needs
from training.objectives.f2c import sides
from training.testing.steps import rows_of

SIDE_PX = 16
NEEDS = Needs(plan="dual", layout="identity", views=2)
PEOPLE = [[2, 3], [4], [1, 5], [6, 1]]  # photos of the identities of each row group
NO_CHANGE = AugmentSettings(flip=0.0)
EVERYTHING = AugmentSettings(crop_area=(0.3, 1.0), brightness=0.3, contrast=0.3, saturation=0.3, blur=0.3, erase=0.3)
Write = Callable[..., Any]
Place = tuple[int, int]

layouts = st.lists(st.lists(st.integers(1, 5), min_size=0, max_size=4), min_size=1, max_size=8).filter(
    lambda groups: any(groups)
)


def places(groups: list[list[int]]) -> list[tuple[int, int, int]]:
    """Row group, first row and number of photos of each identity."""
    return [(group, sum(sizes[:n]), size) for group, sizes in enumerate(groups) for n, size in enumerate(sizes)]


def orders(groups: list[list[int]], *, batch: int, seed: int = 0) -> tuple[Order, IdentityOrder]:
    identities = Identities(*np.array(places(groups), dtype=np.int64).T)
    pairs = IdentityOrder(
        identities, num_groups=len(groups), seed=seed + 1, global_batch_size=2 * batch, photos=2, mixed=24
    )
    return Order([sum(sizes) for sizes in groups], seed=seed, global_batch_size=batch, shuffle_row_groups=24), pairs


def pairs_of_run(order: IdentityOrder, num_steps: int) -> list[list[Place]]:
    """The steps of the identities from the first of the run on, epoch after epoch."""
    found: list[list[Place]] = []
    for epoch in count():
        found += rows_of(order.epoch(epoch, rank=0, size=1))
        if len(found) >= num_steps:
            return found[:num_steps]
    raise AssertionError


@given(layouts, st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_a_step_has_what_the_two_orders_give_apart_the_identities_without_an_end(
    groups: list[list[int]], batch: int
) -> None:
    pictures, identities = orders(groups, batch=batch)
    dual = DualOrder(pictures, identities)
    assert dual.steps_per_epoch == pictures.steps_per_epoch
    expected = pairs_of_run(identities, 3 * dual.steps_per_epoch)
    for epoch in range(3):
        apart = rows_of(pictures.epoch(epoch, rank=0, size=1))
        for number, both in enumerate(rows_of(dual.epoch(epoch, rank=0, size=1))):
            pairs = expected[epoch * dual.steps_per_epoch + number]
            assert both == [*pairs[::2], *pairs[1::2], *apart[number]]


@given(layouts, st.integers(1, 9), st.data())
@settings(max_examples=40, deadline=None)
def test_a_resumed_epoch_is_the_rest(groups: list[list[int]], batch: int, data: st.DataObject) -> None:
    dual = DualOrder(*orders(groups, batch=batch))
    start = data.draw(st.integers(0, dual.steps_per_epoch))
    whole = rows_of(dual.epoch(2, rank=0, size=1))
    assert rows_of(dual.epoch(2, rank=0, size=1, start_step=start)) == whole[start:]


@given(layouts, st.integers(1, 2))
@settings(max_examples=20, deadline=None)
def test_every_world_size_shows_the_same_in_each_global_step(groups: list[list[int]], quarters: int) -> None:
    batch = 4 * quarters
    dual = DualOrder(*orders(groups, batch=batch))
    expected = rows_of(dual.epoch(1, rank=0, size=1))
    for size in (2, 4):
        share = batch // size
        ranks = [rows_of(dual.epoch(1, rank=rank, size=size)) for rank in range(size)]
        for step, parts in zip(expected, zip(*ranks, strict=True), strict=True):
            streams = [[row for part in parts for row in part[n * share : (n + 1) * share]] for n in range(3)]
            assert [row for stream in streams for row in stream] == step


def test_loads_are_closed_though_the_identities_begin_again_a_hundred_times() -> None:
    dual = DualOrder(*orders([[100, 100]] * 6, batch=6))
    held = most = 0
    for step in dual.epoch(0, rank=0, size=1):
        held += len(step.opens)
        most = max(most, held)
        held -= len(step.closes)
    # Both orders have 6 parts, each with two blocks of 24 / 6 row groups at most; those of the last time round besides.
    assert most <= 3 * 6 * 2 * 4


@pytest.fixture
def people(write_dataset: Write) -> Any:
    dataset = write_dataset([[5, 4], [6, 7]])
    columns = dict(zip(("row_group", "first_row", "num_images"), zip(*places(PEOPLE), strict=True), strict=True))
    dataset.add_labels(pa.table({"split": ["train"] * 7, "label": range(7), **columns}))
    return dataset


def feed(folder: Path, *, batch: int = 4, rank: int = 0, size: int = 1, seed: int = 0, **options: Any) -> Feed:
    told = FeedSettings(**{"decode": DecodeSettings(size_px=SIDE_PX), "shuffle_row_groups": 12} | options)
    return Feed(folder, "train", told, seed=seed, global_batch_size=batch, rank=rank, size=size, needs=NEEDS)


def parts_of(batch: Batch) -> tuple[torch.Tensor, ...]:
    """First photos, second photos, identities, pictures of all and their labels."""
    return batch.extras[FIRST], batch.extras[SECOND], batch.extras[IDENTITIES], batch.images, batch.labels


def print_of(batches: Iterable[Batch]) -> list[str]:
    """All that a batch holds, in a form that compares."""
    return [
        hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts_of(batch))).hexdigest()
        for batch in batches
    ]


def owners(dataset: Any) -> list[int]:
    return np.repeat(range(7), [size for sizes in PEOPLE for size in sizes]).tolist()


def test_pictures_belong_to_their_labels_and_the_two_of_an_identity_differ(people: Any) -> None:
    """Rows have labels of their own here (their number), and the identity of a row is known besides."""
    owner, seen = owners(people), set()
    for epoch in range(2):
        for batch in feed(people.folder, augment=NO_CHANGE).epoch(epoch):
            firsts, seconds, identities, images, labels = parts_of(batch)
            assert firsts.shape == seconds.shape == images.shape == (4, 3, SIDE_PX, SIDE_PX)
            for one, first, second in zip(identities.tolist(), firsts, seconds, strict=True):
                has_one_photo = owner.count(owner[one]) == 1
                assert torch.equal(first, second) == has_one_photo
                seen.add(owner[one])
            assert [people.labels[image_id] for image_id in batch.image_ids] == labels.tolist()
            assert batch.num_pictures == 12
    assert seen == set(range(7))


def test_the_only_photo_of_an_identity_is_changed_in_two_ways(people: Any) -> None:
    owner, num_alone = owners(people), 0
    for epoch in range(3):
        for batch in feed(people.folder, augment=EVERYTHING).epoch(epoch):
            firsts, seconds, identities, _, _ = parts_of(batch)
            for one, first, second in zip(identities.tolist(), firsts, seconds, strict=True):
                assert not torch.equal(first, second)
                num_alone += owner.count(owner[one]) == 1
    assert num_alone > 2


def test_a_photo_is_never_changed_twice_in_the_same_way(people: Any) -> None:
    """A set so small that the identities come round five times in an epoch, and are drawn from all as well."""
    shown = [
        image.contiguous().numpy().tobytes()
        for epoch in range(2)
        for batch in feed(people.folder, batch=2, augment=EVERYTHING).epoch(epoch)
        for image in (*batch.extras[FIRST], *batch.extras[SECOND], *batch.images)
    ]
    assert len(shown) == 2 * 11 * 6
    assert len(set(shown)) == len(shown)


def test_threads_change_nothing(people: Any) -> None:
    runs = [
        print_of(feed(people.folder, threads=threads, reader_threads=threads, augment=EVERYTHING).epoch(1))
        for threads in (1, 2, 4)
    ]
    assert runs[0] == runs[1] == runs[2]


def test_an_interrupted_run_goes_on_bit_by_bit(people: Any) -> None:
    one = feed(people.folder, augment=EVERYTHING)
    for epoch in range(2):
        whole = print_of(one.epoch(epoch))
        assert len(whole) == one.steps_per_epoch == 5
        for start in range(len(whole) + 1):
            assert print_of(feed(people.folder, augment=EVERYTHING).epoch(epoch, start_step=start)) == whole[start:]


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_share_the_pictures_of_one(people: Any, size: int) -> None:
    ranks = [feed(people.folder, rank=rank, size=size, augment=EVERYTHING).epoch(1) for rank in range(size)]
    whole = list(feed(people.folder, augment=EVERYTHING).epoch(1))
    for expected, batches in zip(whole, zip(*ranks, strict=True), strict=True):
        joined = [torch.cat(column) for column in zip(*map(parts_of, batches), strict=True)]
        assert all(torch.equal(one, other) for one, other in zip(joined, parts_of(expected), strict=True))


def test_the_sides_of_a_step_keep_the_layout_in_which_the_nets_run(people: Any) -> None:
    for batch in feed(people.folder).epoch(0):
        for images, labels in sides(batch):
            assert images.shape[0] == len(labels) == 6
            assert images.is_contiguous(memory_format=torch.channels_last)


def test_seeds_and_epochs_differ_in_both_streams(people: Any) -> None:
    runs = [
        ([batch.extras[IDENTITIES].tolist() for batch in batches], [batch.labels.tolist() for batch in batches])
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
        for batches in [list(feed(people.folder, seed=seed).epoch(epoch))]
    ]
    assert runs[0][0] != runs[1][0] != runs[2][0] != runs[0][0]
    assert runs[0][1] != runs[1][1] != runs[2][1] != runs[0][1]


def test_waiting_is_counted(people: Any) -> None:
    one = feed(people.folder)
    list(one.epoch(0))
    assert one.wait_seconds > 0


def test_what_the_feed_cannot_give_is_refused_in_one_line(people: Any, write_dataset: Write) -> None:
    with pytest.raises(
        UserError, match=r"^feed\.photos_per_identity=2, and the objective's plan of rows is 'dual', which chooses"
    ):
        feed(people.folder, photos_per_identity=2)
    with pytest.raises(UserError, match="global_batch_size is 5, which 2 ranks cannot share"):
        feed(people.folder, batch=5, size=2)


def test_the_pictures_of_all_set_the_largest_batch_and_the_identities_begin_again(people: Any) -> None:
    num_pictures = sum(map(sum, PEOPLE))
    whole = feed(people.folder, batch=num_pictures)
    assert len(next(iter(whole.epoch(0))).image_ids) == num_pictures
    with pytest.raises(UserError, match=rf"^recipe.batch_size={num_pictures + 1} takes more than the {num_pictures} "):
        next(iter(feed(people.folder, batch=num_pictures + 1).epoch(0)))
