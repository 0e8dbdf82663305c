"""The job that writes the report of a run."""

import sys

from jobs.entry import JobContext, run_job
from jobs.report.contents import Made
from jobs.report.page import build_report
from pipelines.durable import write_atomically
from pipelines.run_folder import METRICS_NAME, RunFolder
from pipelines.store import Store


def write_report(context: JobContext) -> None:
    """Copy the metrics of the training to the run's settings, and draw the page."""
    metrics = context.parents["train"] / METRICS_NAME
    if metrics.is_file():
        write_atomically(RunFolder(context.run_folder).metrics, metrics.read_bytes())
    path = build_report(context.run_folder, _made(context))
    context.progress(1, 1, str(path))


def _made(context: JobContext) -> list[Made]:
    """The artefacts of every stage of the run."""
    store = Store(context.settings.store)
    return [
        Made(
            stage=stage.name,
            folder=store.folder(stage.makes, context.settings.fingerprints[stage.name]),
            round=stage.round,
            instance=stage.instance,
            earlier=tuple(delivery[stage.makes] for delivery in context.earlier if stage.makes in delivery),
        )
        for stage in context.stages.values()
        if stage.makes is not None
    ]


if __name__ == "__main__":
    sys.exit(run_job("report", write_report))
