"""The table of what the ways to hold many identities would take of each rank, and which of them a device could hold."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from jobs.planning import PlannedStage
from jobs.settings import RunSettings
from jobs.wording import size_of
from training.objectives.capacity import HeadCost, HeadSize, head_costs
from training.objectives.settings import half_step_pictures

GIB = 2**30
_SAMPLE_RATE = 0.1  # of Partial FC where the run samples nothing: the one of the paper
_SLOTS = 0.01  # of the identities where the run has no pool


def identities_of(planned: Sequence[PlannedStage]) -> int | None:
    """The number of identities that the run trains on in the end; None = unknown before the dataset is there."""
    [*_, last] = [one for one in planned if one.stage.makes == "dataset"]
    return int(last.manifest().facts["splits"]["train"]["classes"]) if last.is_done else None


def device_gib() -> float | None:
    """The memory of the first GPU here, None where there is none."""
    import torch  # takes seconds, which a plan without this table does not spend

    if not torch.cuda.is_available():
        return None
    return float(torch.cuda.get_device_properties(0).total_memory / GIB)


def head_size(settings: RunSettings, identities: int) -> HeadSize:
    """The size of a run's head by its settings, with usual values for the settings that are left open."""
    objective, ranks = settings.objective, settings.place.num_ranks
    batch = settings.recipe.batch_size // ranks
    slots = max(round(_SLOTS * identities), ranks * half_step_pictures(batch))
    return HeadSize(
        identities=identities,
        embedding_dim=settings.model.embedding_dim,
        ranks=ranks,
        batch=batch,
        sample_rate=_SAMPLE_RATE if objective.sample_rate in (None, 1.0) else objective.sample_rate,
        slots=slots if objective.pool_slots is None else objective.pool_slots,
        feature_bytes=4 if settings.recipe.precision == "fp32" else 2,
        gradient_bytes=settings.strategy.gradient_bytes,
    )


def head_table(size: HeadSize, room_gib: float | None) -> Table:
    """A row for each way; ``room_gib`` is what a device has, None leaves open what fits."""
    table = Table(box=None, pad_edge=False)
    table.add_column("head")
    for title in ("held", "in a step", "device in all", "host", "sent a step", "fits"):
        table.add_column(title, justify="right")
    for cost in head_costs(size):
        table.add_row(*_row(cost, room_gib))
    device = (
        "no device is known: --device-gib says how large one is" if room_gib is None else f"device {room_gib:.1f} GiB"
    )
    table.caption = (
        f"each of {size.ranks:,} ranks, {size.identities:,} identities of {size.embedding_dim:,} numbers, "
        f"{size.batch:,} pictures a step, a pool of {size.slots:,} slots; {device}; "
        "the backbone comes on top, with a pool of features a second one"
    )
    return table


def _row(cost: HeadCost, room_gib: float | None) -> list[Any]:
    sizes = [size_of(number) if number else "" for number in (cost.held, cost.peak, cost.on_device, cost.host)]
    fits = "" if room_gib is None else "yes" if cost.on_device <= room_gib * GIB else "no"
    return [cost.way, *sizes, size_of(cost.sent), fits]
