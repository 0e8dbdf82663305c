"""The job that writes the report of a run."""

import shutil
import sys
from collections import defaultdict
from pathlib import Path

from jobs.entry import JobContext, run_job
from jobs.stages import artefact_folder, river
from training.metrics import METRICS_NAME
from training.report.page import build_report


def write_report(context: JobContext) -> None:
    """Bring the metrics of the training beside the run's settings, and draw the page."""
    metrics = context.parents["train"] / METRICS_NAME
    if metrics.is_file():
        shutil.copyfile(metrics, context.run_folder / METRICS_NAME)
    kinds = {stage.role: stage.kind for stage in river(context.settings)}
    artefacts = {kind: folder for role, folder in context.parents.items() if (kind := kinds[role]) is not None}
    path = build_report(
        context.run_folder,
        artefacts,
        rounds=_rounds(context),
        earlier_records=[delivery["ingest"] for delivery in context.earlier],
    )
    context.progress(1, 1, str(path))


def _rounds(context: JobContext) -> list[dict[str, Path]]:
    """Kind -> folder of what each round made."""
    rounds: dict[int, dict[str, Path]] = defaultdict(dict)
    for stage in river(context.settings):
        if stage.kind is not None:
            mark = context.settings.fingerprints[stage.name]
            rounds[stage.round][stage.kind] = artefact_folder(context.settings, stage, mark)
    return [rounds[number] for number in sorted(rounds)]


if __name__ == "__main__":
    sys.exit(run_job("report", write_report))
