"""The job that writes the report of a run."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.entry import JobContext, run_job
from jobs.stages import Stage
from pipelines.run_folder import METRICS_NAME, RunFolder
from pipelines.store import Store
from training.report.page import KINDS, build_report


def write_report(context: JobContext) -> None:
    """Bring the metrics of the training beside the run's settings, and draw the page."""
    metrics = context.parents["train"] / METRICS_NAME
    if metrics.is_file():
        shutil.copyfile(metrics, RunFolder(context.run_folder).metrics)
    making = [stage for stage in context.stages.values() if stage.makes is not None]
    rounds = sorted({stage.round for stage in making})
    path = build_report(
        context.run_folder,
        {kind: folder for kind, folder in _newest(context, making).items() if kind in KINDS},
        rounds=[_newest(context, [stage for stage in making if stage.round == number]) for number in rounds],
        earlier_records=[delivery["records"] for delivery in context.earlier],
        made={stage.name: _folder(context, stage) for stage in making},
    )
    context.progress(1, 1, str(path))


def _newest(context: JobContext, stages: Sequence[Stage]) -> dict[str, Path]:
    """Kind -> folder of its newest artefact; of one that was made for several instances, that of the first."""
    newest: dict[str, Stage] = {}
    for stage in stages:
        assert stage.makes is not None, f"{stage.name} makes nothing"
        before = newest.get(stage.makes)
        if before is None or (before.verb, before.round) != (stage.verb, stage.round):
            newest[stage.makes] = stage
    return {kind: _folder(context, stage) for kind, stage in newest.items()}


def _folder(context: JobContext, stage: Stage) -> Path:
    assert stage.makes is not None, f"{stage.name} makes nothing"
    return Store(context.settings.store).folder(stage.makes, context.settings.fingerprints[stage.name])


if __name__ == "__main__":
    sys.exit(run_job("report", write_report))
