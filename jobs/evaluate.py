"""The job that judges a finished model."""

import sys

from jobs.entry import JobContext, run_job
from jobs.rank_work import communicator
from pipelines import manifest
from training.build import device_of
from training.comm.protocol import Comm
from training.evaluate.task import evaluate
from training.feed.location import dataset_location
from training.model_file import read_model

RESULT_NAME = "result.json"


def evaluate_model(context: JobContext) -> None:
    """Embed the pairs' pictures over all ranks; rank 0 writes the result."""
    with communicator(context) as comm:
        _evaluate(context, comm)


def _evaluate(context: JobContext, comm: Comm) -> None:
    backbone, card = read_model(context.parents["train"])
    backbone = backbone.to(device_of(comm))
    result = evaluate(
        backbone,
        context.settings.evaluate,
        comm,
        dataset=dataset_location(context.settings.feed, context.parents["shard"]),
        size_px=card.model.input_size_px,
    )
    if comm.rank == 0:
        manifest.clear(context.folder)
        path = context.folder / RESULT_NAME
        manifest.write_atomically(path, (result.model_dump_json(indent=1) + "\n").encode())
        context.finish(counts={"pairs": result.num_pairs}, files=[manifest.describe(context.folder, path)])
        context.progress(1, 1, f"accuracy {result.accuracy:.2%} ± {result.accuracy_std:.2%}, AUC {result.auc:.4f}")
    comm.barrier()


if __name__ == "__main__":
    sys.exit(run_job("evaluate", evaluate_model))
