"""The record of a stage when it is planned, and the outcome of one that is done."""

from jobs.cost import passes, workers
from jobs.planning import PlannedStage
from jobs.settings import RunSettings
from pipelines.run_folder import StageState


def first_state(settings: RunSettings, planned: PlannedStage, before: StageState | None) -> StageState:
    """The record of a stage that has just been planned.

    Args:
        before: its record in an earlier run of the name.
    """
    if planned.is_done and before is not None and before.is_over and before.fingerprint == planned.fingerprint:
        # How long it took and how it went stay known.
        return before.model_copy(update={"status": "cached"})
    fresh = StageState(
        fingerprint=planned.fingerprint,
        folder=None if planned.folder is None else str(planned.folder),
        workers=workers(planned.stage, settings.place),
        passes=passes(settings, planned.stage.verb),
    )
    if not planned.is_done:
        return fresh
    summary, counts = outcome(planned)
    return fresh.model_copy(update={"status": "cached", "summary": summary or "", "counts": counts or {}})


def outcome(planned: PlannedStage) -> tuple[str | None, dict[str, int] | None]:
    """Summary and counts from the manifest of a finished artefact."""
    if planned.stage.makes is None:
        return None, None
    counts = planned.manifest().counts
    # "rejected:blurry" is a part of "rejected"; the report has room for both, a line of the screen has not.
    shown = [f"{name} {count:,}" for name, count in counts.items() if ":" not in name]
    return ", ".join(shown), counts
