"""The job that trains: builds the parts from the settings, runs the loop, leaves the model."""

import logging
import sys
from collections.abc import Callable

import torch
from torch import nn

from jobs.entry import JobContext, run_job
from jobs.rank_work import communicator, device_of
from pipelines import manifest
from pipelines.settings import UserError
from training.comm.protocol import Comm
from training.evaluate.settings import EvaluateSettings
from training.evaluate.task import evaluate
from training.feed.feed import Feed
from training.feed.location import dataset_location
from training.loop import train
from training.model_file import ModelCard, write_model
from training.models.backbones import build_backbone
from training.objectives.build import ObjectiveContext, build_objective
from training.optim import build_optimiser
from training.parts import Hooks, Parts
from training.precision import needs_loss_scaling
from training.schedule import learning_rate
from training.strategies.build import build_strategy

_MIN_CLASSES = 2
_VALIDATION_PAIRS = 1000
_VALIDATION_FOLDS = 2


def train_model(context: JobContext) -> None:
    """Train from the newest checkpoint on; rank 0 leaves the model and the manifest."""
    logging.getLogger("petastorm").setLevel(logging.WARNING)
    with communicator(context) as comm:
        _train(context, comm)


def _train(context: JobContext, comm: Comm) -> None:
    settings = context.settings
    num_classes = _num_classes(context)
    device = device_of(comm)
    torch.manual_seed(settings.seed)
    # Channels last is how the feed lays pictures down, which fixes the layout in which the convolutions run.
    backbone = build_backbone(settings.model).to(device)
    objective = build_objective(
        settings.objective,
        ObjectiveContext(backbone, comm, device, settings.recipe.optimiser, settings.seed),
        num_classes=num_classes,
        embedding_dim=settings.model.embedding_dim,
    )
    feed = _feed(context, comm, device)
    if comm.rank == 0 and (line := feed.shuffle_line()) is not None:
        context.log.info("%s", line)
    strategy = build_strategy(
        settings.strategy,
        [backbone, objective],
        build_optimiser(settings.recipe.optimiser, [backbone, objective]),
        comm,
        clip_norm=settings.recipe.optimiser.clip_norm,
        has_loss_scaling=needs_loss_scaling(settings.recipe.precision, device),
        local_updates=objective.local_updates,
    )
    parts = Parts(feed, backbone, objective, strategy, _schedule(context, feed.steps_per_epoch), comm)
    hooks = Hooks(progress=context.progress, validate=_validation(context, backbone, comm))
    num_steps = train(parts, settings.recipe, context.folder, seed=settings.seed, hooks=hooks)
    if comm.rank == 0:
        card = ModelCard(
            model=settings.model,
            decode=settings.feed.decode,
            dataset=settings.fingerprints["shard"],
            num_classes=num_classes,
            num_steps=num_steps,
        )
        paths = write_model(context.folder, backbone, card)
        context.finish(
            counts={"steps": num_steps, "classes": num_classes},
            files=[manifest.describe(context.folder, path) for path in paths],
        )
        context.progress(num_steps, num_steps, f"{num_steps:,} steps on {num_classes:,} identities")
    comm.barrier()


def _feed(context: JobContext, comm: Comm, device: torch.device) -> Feed:
    settings = context.settings
    return Feed(
        context.parents["shard"],
        "train",
        settings.feed,
        seed=settings.seed,
        global_batch_size=settings.recipe.batch_size,
        rank=comm.rank,
        size=comm.size,
        needs=settings.objective.needs,
        device=device,
    )


def _num_classes(context: JobContext) -> int:
    settings, dataset = context.settings, context.parents["shard"]
    if settings.feed.decode.size_px != settings.model.input_size_px:
        raise UserError(
            f"feed.decode.size_px={settings.feed.decode.size_px} is not model.input_size_px="
            f"{settings.model.input_size_px}; set one of them only, they follow each other"
        )
    place = dataset_location(settings.feed, dataset)
    found = manifest.read_from(place, place.read)
    if found.fingerprint != dataset.name:
        raise UserError(
            f"feed.location={place} holds dataset {found.fingerprint}, and this run trains on {dataset.name}; "
            f"copy {dataset} there, or drop feed.location"
        )
    num_classes = int(found.facts["splits"]["train"]["classes"])
    if num_classes < _MIN_CLASSES:
        raise UserError(
            f"{place} has {num_classes} identity to train on and at least {_MIN_CLASSES} are needed; give more "
            "identities, or set curate.split.val_fraction=0"
        )
    return num_classes


def _schedule(context: JobContext, steps_per_epoch: int) -> Callable[[int], float]:
    recipe = context.settings.recipe

    def rate(step: int) -> float:
        return learning_rate(
            recipe.schedule,
            step=step,
            steps_per_epoch=steps_per_epoch,
            epochs=recipe.epochs,
            global_batch_size=recipe.batch_size,
        )

    return rate


def _validation(context: JobContext, backbone: nn.Module, comm: Comm) -> Callable[[], dict[str, float]]:
    """Verification on pairs of held-out identities, where there are any."""
    settings = context.settings
    dataset = dataset_location(settings.feed, context.parents["shard"])
    held_out = manifest.read_from(dataset, dataset.read).facts["splits"].get("val", {"classes": 0})
    if held_out["classes"] < _MIN_CLASSES:
        return dict
    pairs = EvaluateSettings(
        crop=settings.feed.decode.crop,
        fit=settings.feed.decode.fit,
        num_pairs=_VALIDATION_PAIRS,
        folds=_VALIDATION_FOLDS,
    )

    def validate() -> dict[str, float]:
        result = evaluate(backbone, pairs, comm, dataset=dataset, size_px=settings.model.input_size_px)
        return {"val_accuracy": result.accuracy}

    return validate


if __name__ == "__main__":
    sys.exit(run_job("train", train_model))
