"""The job that writes the report of a run."""

import shutil
import sys

from jobs.entry import JobContext, run_job
from jobs.stages import STAGES
from training.metrics import METRICS_NAME
from training.report import build_report


def write_report(context: JobContext) -> None:
    """Bring the metrics of the training beside the run's settings, and draw the page."""
    metrics = context.parents["train"] / METRICS_NAME
    if metrics.is_file():
        shutil.copyfile(metrics, context.run_folder / METRICS_NAME)
    kinds = {stage.name: stage.kind for stage in STAGES}
    artefacts = {kind: folder for name, folder in context.parents.items() if (kind := kinds[name]) is not None}
    path = build_report(context.run_folder, artefacts)
    context.progress(1, 1, str(path))


if __name__ == "__main__":
    sys.exit(run_job("report", write_report))
