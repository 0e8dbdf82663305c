"""The rows that the steps of a plan show, for tests of plans."""

from collections.abc import Iterable

from training.feed.plans.plan import Load, Step


def rows_of(steps: Iterable[Step], first_load: int = 0) -> list[list[tuple[int, int]]]:
    """The (row group, row) pairs of every step, looked up as the feed does; checks that loads are open when used."""
    opened: dict[int, Load] = {}
    number = first_load
    batches = []
    for step in steps:
        for load in step.opens:
            opened[number] = load
            number += 1
        used = [(opened[load], row) for load, row in zip(step.loads.tolist(), step.rows.tolist(), strict=True)]
        assert all(0 <= row < load.rows for load, row in used)
        batches.append([(load.group, load.first + row) for load, row in used])
        for closed in step.closes:
            del opened[closed]
    return batches
