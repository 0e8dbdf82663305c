"""The table of plans, and the rules that hold between an objective's needs, the feed's settings and the dataset."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pipelines.settings import ShardSettings, UserError
from training.feed.settings import FeedSettings
from training.needs import Layout, Needs

if TYPE_CHECKING:
    from training.feed.plans.plan import Plan, Split


@dataclass(frozen=True)
class PlanKind:
    """One way to choose the rows of each step, and its rules."""

    builder: str  # "module:function", which makes a `Plan` of a `Split`
    layout: Layout | None = None  # that the dataset must have; None = any
    views: int = 1  # pictures that it gives of each identity drawn
    takes_where: bool = True  # feed.where may leave out rows
    takes_photos: bool = False  # feed.photos_per_identity is its number of photos, and must be given


PLANS = {
    "rows": PlanKind("training.feed.plans.rows:build"),
    "identities": PlanKind(
        "training.feed.plans.identities:build", layout="identity", takes_where=False, takes_photos=True
    ),
    "dual": PlanKind("training.feed.plans.dual:build", layout="identity", views=2, takes_where=False),
}


def plan_name(needs: Needs, feed: FeedSettings) -> str:
    """The key of the plan: the objective's, except that feed.photos_per_identity makes "identities" of "rows"."""
    return "identities" if needs.plan == "rows" and feed.photos_per_identity is not None else needs.plan


def build_plan(needs: Needs, split: "Split") -> "Plan":
    """The plan of a split.

    Raises:
        UserError: the settings break a rule of the plan, or the dataset is laid out in another way.
    """
    check_plan(needs, split.settings)
    module, _, function = PLANS[plan_name(needs, split.settings)].builder.partition(":")
    plan: Plan = getattr(import_module(module), function)(split)
    return plan


def check_plan(needs: Needs, feed: FeedSettings, shard: ShardSettings | None = None) -> None:
    """Refuse settings that the plan cannot follow.

    Args:
        shard: of the dataset that will be fed; None where a dataset is there already, whose readers look themselves.

    Raises:
        UserError: a rule of the plan is broken.
    """
    name = plan_name(needs, feed)
    kind, photos = PLANS[name], feed.photos_per_identity
    asking = f"feed.photos_per_identity={photos}" if kind.takes_photos and photos else "the objective"
    if shard is not None:
        _check_dataset(asking, needs.layout or kind.layout, needs.columns, shard)
    if kind.takes_photos != (photos is not None):
        remedy = "set it to null" if photos else "set it to the number of photos of each identity"
        raise UserError(
            f"feed.photos_per_identity={'null' if photos is None else photos}, and the objective's plan of rows is "
            f"{name!r}, which {'needs it' if kind.takes_photos else 'chooses photos by itself'}; {remedy}"
        )
    if not kind.takes_where and not feed.where.is_everything:
        chosen = feed.where.model_dump_json(exclude_defaults=True)
        raise UserError(f"feed.where={chosen}, and {asking} takes whole identities; drop feed.where")
    if needs.views > kind.views:
        raise UserError(
            f"the objective needs {needs.views} views of each identity, and its plan {name!r} gives {kind.views}; "
            "choose another objective"
        )


def _check_dataset(asking: str, layout: Layout | None, columns: tuple[str, ...], shard: ShardSettings) -> None:
    if layout not in (None, shard.layout):
        raise UserError(
            f"{asking} needs the dataset's layout {layout!r}, and shard.layout={shard.layout}; "
            f"set shard.layout={layout}"
        )
    if missing := [name for name in columns if name not in shard.columns]:
        names = ",".join((*shard.columns, *missing))
        raise UserError(
            f"{asking} needs column {missing[0]!r} of the dataset, and shard.columns={list(shard.columns)}; "
            f"set shard.columns=[{names}]"
        )
