"""The job that judges a finished model on one set."""

import contextlib
import sys
from collections.abc import Iterator

from jobs.entry import JobContext, run_job
from jobs.rank_work import on_all_ranks
from pipelines import manifest
from pipelines.durable import write_atomically
from pipelines.run_folder import RESULT_NAME
from pipelines.settings import UserError
from training.build import device_of
from training.comm.protocol import Comm
from training.feed.location import dataset_location
from training.model_file import read_model
from training.tasks.result import Result
from training.tasks.task import TaskContext, build_task


def evaluate_model(context: JobContext) -> None:
    """Judge the model over all ranks; rank 0 writes the result."""
    on_all_ranks(context, _evaluate, _finish)


def _finish(context: JobContext, result: Result) -> None:
    summary = result.summary()
    manifest.clear(context.folder)
    path = context.folder / RESULT_NAME
    write_atomically(path, result.encoded())
    files = [manifest.describe(context.folder, path)]
    context.finish(counts=result.counts(), files=files, summary=summary)


def _evaluate(context: JobContext, comm: Comm) -> Result:
    name, settings = context.instance, context.settings.evaluate
    backbone, card = read_model(context.parents["model"])
    backbone = backbone.to(device_of(comm))
    dataset = dataset_location(context.settings.feed, context.parents["dataset"])
    task = build_task(
        settings.sets[name],
        TaskContext(size_px=card.model.input_size_px, batch_size=settings.batch_size, dataset=dataset),
    )
    with _naming(f"evaluate.sets.{name}"):
        return task.run(backbone, comm)


@contextlib.contextmanager
def _naming(section: str) -> Iterator[None]:
    """Put the name of a section before the errors that name settings of it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{section}: {error}") from None


if __name__ == "__main__":
    sys.exit(run_job("evaluate", evaluate_model))
