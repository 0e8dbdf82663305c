"""A line on a changed reference set: the later artefacts that stay, and those that have to be made again."""

from collections.abc import Mapping

from jobs.planning import PlannedStage
from jobs.settings import RunSettings
from pipelines.manifest import content_digest
from pipelines.run_folder import RunState
from pipelines.store import Store

# As in `pipelines.records` and `pipelines.leak`, which import more than a driver with nothing to do needs.
_ROWS = "rows"
_LEAKS = "rejected:leak"  # among the counts of decisions


def describe_reuse(
    settings: RunSettings, before: RunState | None, planned: Mapping[str, PlannedStage], finished: str
) -> list[str]:
    """A line on decisions that were made again since the references changed; none where something else made them anew.

    Args:
        before: the last record of the run; None = it never ran.
        finished: the stage that has just made its artefact.
    """
    now = planned[finished]
    old = _mark(before, finished)
    store = Store(settings.store)
    if now.stage.makes != "decisions" or old is None or not store.is_done("decisions", old):
        return []
    references = {name: one.fingerprint for name, one in planned.items() if one.stage.makes == "references"}
    if all(_mark(before, name) == mark for name, mark in references.items()):
        return []
    decisions, decisions_before = now.manifest(), store.manifest("decisions", old)
    if content_digest(decisions, _ROWS) == content_digest(decisions_before, _ROWS):
        return ["the references changed and the decisions did not: what was made of these stays"]
    leaks, leaks_before = (one.counts.get(_LEAKS, 0) for one in (decisions, decisions_before))
    later = list(planned.values())[list(planned).index(finished) + 1 :]
    again = [one.name for one in later if not one.is_done and one.stage.makes]
    pictures = "picture is" if leaks == 1 else "pictures are"
    return [
        f"the references changed and so did the decisions: {leaks:,} {pictures} now excluded as leaks, "
        f"{leaks_before:,} before; {_listed(again)} run again; "
        "name sets that are known beforehand under reference.sources"
    ]


def _mark(state: RunState | None, stage: str) -> str | None:
    return state.stages[stage].fingerprint if state and stage in state.stages else None


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
