"""The job that trains: builds the parts from the settings, runs the loop, leaves the model."""

import logging
import sys
from collections.abc import Callable

from torch import nn

from jobs.entry import JobContext, run_job
from jobs.rank_work import communicator
from pipelines import manifest
from training.build import build
from training.comm.protocol import Comm
from training.feed.location import dataset_location
from training.loop import train
from training.model_file import ModelCard, write_model
from training.parts import Hooks
from training.tasks.validation import build_validation

_MIN_CLASSES = 2


def train_model(context: JobContext) -> None:
    """Train from the newest checkpoint on; rank 0 leaves the model and the manifest."""
    logging.getLogger("petastorm").setLevel(logging.WARNING)
    with communicator(context) as comm:
        _train(context, comm)


def _train(context: JobContext, comm: Comm) -> None:
    settings = context.settings
    parts = build(settings, context.parents["dataset"], comm)
    if comm.rank == 0 and (line := parts.feed.shuffle_line()) is not None:
        context.log.info("%s", line)
    hooks = Hooks(progress=context.progress, validate=_validation(context, parts.backbone, comm))
    num_steps = train(parts, context.folder, hooks=hooks)
    if comm.rank == 0:
        card = ModelCard(
            model=settings.model,
            decode=settings.feed.decode,
            dataset=context.parents["dataset"].name,
            num_classes=parts.num_classes,
            num_steps=num_steps,
        )
        paths = write_model(context.folder, parts.backbone, card)
        context.finish(
            counts={"steps": num_steps, "classes": parts.num_classes},
            files=[manifest.describe(context.folder, path) for path in paths],
        )
        context.progress(num_steps, num_steps, f"{num_steps:,} steps on {parts.num_classes:,} identities")
    comm.barrier()


def _validation(context: JobContext, backbone: nn.Module, comm: Comm) -> Callable[[], dict[str, float]]:
    """Verification on pairs of held-out identities, where there are any."""
    settings = context.settings
    validate = build_validation(dataset_location(settings.feed, context.parents["dataset"]), settings.feed.decode)
    return lambda: validate(backbone, comm)


if __name__ == "__main__":
    sys.exit(run_job("train", train_model))
