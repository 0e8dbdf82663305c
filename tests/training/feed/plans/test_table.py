"""Rules between an objective's needs, the feed's settings and the dataset; a plan that a test registers is followed."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pipelines.settings import ShardSettings, UserError
from training.feed.feed import Feed
from training.feed.plans import table
from training.feed.plans.plan import Load, Plan, Split, Step
from training.feed.plans.table import PLANS, PlanKind, check_plan, plan_name
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings
from training.needs import Needs

DUAL = Needs(plan="dual")
MIXED, WHOLE = ShardSettings(layout="instance"), ShardSettings(layout="identity", columns=("boxes",))


def fed(**options: Any) -> FeedSettings:
    return FeedSettings(**options)


@pytest.mark.parametrize(
    ("needs", "feed", "shard", "message"),
    [
        (DUAL, fed(), MIXED, "the objective needs the dataset's layout 'identity', and shard.layout=instance"),
        (Needs(layout="identity"), fed(), MIXED, "the objective needs the dataset's layout 'identity', and shard"),
        (Needs(), fed(photos_per_identity=3), MIXED, "feed.photos_per_identity=3 needs the dataset's layout"),
        (
            DUAL,
            fed(photos_per_identity=2),
            WHOLE,
            "is 'dual', which chooses photos by itself; set it to null",
        ),
        (
            Needs(plan="identities"),
            fed(),
            WHOLE,
            "photos_per_identity=null, .* 'identities', which needs it; set",
        ),
        (DUAL, fed(where={"share": 0.5}), WHOLE, r'feed.where=\{"share":0.5\}, and the objective takes whole'),
        (
            Needs(),
            fed(photos_per_identity=2, where={"labels": (0, 3)}),
            WHOLE,
            r"feed.where=\{.*\}, and feed.photos_per_identity=2 takes whole identities; drop feed.where",
        ),
        (
            Needs(columns=("boxes", "landmarks")),
            fed(),
            WHOLE,
            r"needs column 'landmarks' of .*=\['boxes'\]; set shard.columns=\[boxes,landmarks\]$",
        ),
        (
            Needs(views=2),
            fed(),
            WHOLE,
            "needs 2 views of each identity, and its plan 'rows' gives 1",
        ),
    ],
)
def test_what_a_plan_cannot_follow_is_one_clear_error(
    needs: Needs, feed: FeedSettings, shard: ShardSettings, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_plan(needs, feed, shard)


@pytest.mark.parametrize(
    ("needs", "feed", "shard"),
    [
        (Needs(), fed(), MIXED),
        (Needs(), fed(where={"share": 0.5}), WHOLE),
        (Needs(), fed(photos_per_identity=2), WHOLE),
        (Needs(plan="identities"), fed(photos_per_identity=2), WHOLE),
        (Needs(plan="dual", layout="identity", views=2), fed(), WHOLE),
        (Needs(columns=("boxes",)), fed(), WHOLE),
        (DUAL, fed(), None),
    ],
)
def test_what_a_plan_can_follow_is_taken(needs: Needs, feed: FeedSettings, shard: ShardSettings | None) -> None:
    check_plan(needs, feed, shard)


def test_photos_per_identity_choose_the_plan_of_objectives_that_take_rows() -> None:
    assert plan_name(Needs(), fed()) == "rows"
    assert plan_name(Needs(), fed(photos_per_identity=1)) == "identities"
    assert plan_name(DUAL, fed()) == "dual"


class Backwards(Plan):
    """The last row groups first, a batch from each."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.steps_per_epoch = len(split.group_rows)

    def epoch(self, epoch: int, *, rank: int, size: int, start_step: int = 0) -> Iterator[Step]:
        count = self._split.global_batch_size
        for number in range(start_step, self.steps_per_epoch):
            load = Load(self.steps_per_epoch - 1 - number, 0, count)
            yield Step(number, (load,), np.full(count, number - start_step), np.arange(count), (number - start_step,))


def test_a_plan_is_one_file_and_one_line_of_the_table(
    write_dataset: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANS, "backwards", PlanKind("a_plan:Backwards"))
    monkeypatch.setattr(table, "import_module", {"a_plan": type("a_plan", (), {"Backwards": Backwards})}.__getitem__)
    dataset = write_dataset([[3, 3], [3]])
    settings = FeedSettings(decode=DecodeSettings(size_px=16), augment=AugmentSettings(flip=0.0))
    needs = Needs(plan="backwards")
    feed = Feed(dataset.folder, "train", settings, seed=0, global_batch_size=3, rank=0, size=1, needs=needs)
    shown = [image_id for batch in feed.epoch(0) for image_id in batch.image_ids]
    assert shown == [dataset.image_ids[row] for row in (6, 7, 8, 3, 4, 5, 0, 1, 2)]
