"""The job that trains: builds the parts from the settings, runs the loop, leaves the model."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from jobs.entry import JobContext, run_job
from jobs.rank_work import on_all_ranks
from pipelines import manifest
from pipelines.run_folder import METRICS_NAME
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
    on_all_ranks(context, _train, _finish)


def _finish(context: JobContext, trained: tuple[ModelCard, list[Path]]) -> None:
    card, paths = trained
    context.finish(
        counts={"steps": card.num_steps, "classes": card.num_classes},
        files=[manifest.describe(context.folder, path) for path in paths],
        summary=f"{card.num_steps:,} steps on {card.num_classes:,} identities",
        measured=[METRICS_NAME],
    )


def _train(context: JobContext, comm: Comm) -> tuple[ModelCard, list[Path]]:
    """Train; the card of the model, and on rank 0 the files that it wrote."""
    settings = context.settings
    parts = build(settings, context.parents["dataset"], comm)
    if comm.rank == 0 and (line := parts.feed.shuffle_line()) is not None:
        context.log.info("%s", line)
    hooks = Hooks(progress=context.progress, validate=_validation(context, parts.backbone, comm))
    num_steps = train(parts, context.folder, hooks=hooks)
    card = ModelCard(
        model=settings.model,
        decode=settings.feed.decode,
        dataset=context.parents["dataset"].name,
        num_classes=parts.num_classes,
        num_steps=num_steps,
    )
    return card, write_model(context.folder, parts.backbone, card) if comm.rank == 0 else []


def _validation(context: JobContext, backbone: nn.Module, comm: Comm) -> Callable[[], dict[str, float]]:
    """Verification on pairs of held-out identities, where there are any."""
    settings = context.settings
    validate = build_validation(dataset_location(settings.feed, context.parents["dataset"]), settings.feed.decode)
    return lambda: validate(backbone, comm)


if __name__ == "__main__":
    sys.exit(run_job("train", train_model))
