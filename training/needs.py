"""An objective's declaration of what it needs from the dataset and the feed; read by preflight and by the feed."""

from dataclasses import dataclass
from typing import Literal

Layout = Literal["instance", "identity"]


@dataclass(frozen=True)
class Needs:
    """The rows, columns and views that an objective computes its loss from."""

    plan: str = "rows"  # the order in which rows are fed: a key of `training.feed.plans.table.PLANS`
    layout: Layout | None = None  # of the dataset, as shard.layout names it; None = any
    columns: tuple[str, ...] = ()  # of the dataset, beside the image and its label; they become extras of the batch
    views: int = 1  # pictures of each identity that is drawn; the plan must give as many
