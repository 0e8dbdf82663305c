"""The only assembly of a training run: from settings and a dataset to the parts that the loop runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipelines import manifest
from pipelines.settings import UserError
from training.comm.protocol import Comm
from training.comm.topology import Topology
from training.feed.feed import Feed
from training.feed.location import dataset_location
from training.models.backbones import build_backbone
from training.objectives.build import build_objective
from training.objectives.context import ObjectiveContext
from training.objectives.objective import Objective
from training.optim import build_optimiser
from training.parts import FeedLike, Parts
from training.precision import needs_loss_scaling
from training.schedule import learning_rate
from training.settings import TrainingSettings
from training.strategies.build import build_strategy
from training.strategies.context import StrategyContext

_MIN_CLASSES = 2


def build(settings: TrainingSettings, dataset: Path, comm: Comm, *, device: torch.device | None = None) -> Parts:
    """The parts of one rank; a collective. The initial weights depend on the seed alone.

    Args:
        dataset: a folder of shards whose name is its fingerprint; ``feed.location`` may name a copy of it.
        device: None = ``device_of`` the rank.

    Raises:
        UserError: settings do not go together, or do not suit the dataset.
    """
    device = device_of(comm) if device is None else device
    builder = Builder(settings, Topology.of(comm), device, num_classes_of(settings, dataset))
    torch.manual_seed(settings.seed)
    # Channels last is how the feed lays pictures down, which fixes the layout in which the convolutions run.
    backbone = build_backbone(settings.model).to(device)
    objective = builder.build_objective(backbone)
    feed = Feed(
        dataset,
        "train",
        settings.feed,
        seed=settings.seed,
        global_batch_size=settings.recipe.batch_size,
        rank=comm.rank,
        size=comm.size,
        needs=settings.objective.needs,
        device=device,
    )
    return builder.assemble(backbone, objective, feed)


@dataclass(frozen=True)
class Builder:
    """The steps of ``build``, for callers that bring a backbone, an objective or a feed of their own."""

    settings: TrainingSettings
    topology: Topology
    device: torch.device
    num_classes: int  # identities to train on

    def build_objective(self, backbone: nn.Module) -> Objective:
        """The objective for a backbone that is built already.

        Raises:
            UserError: its settings do not go together with the others, or with the number of ranks or identities.
        """
        settings, group = self.settings, self.topology.data_parallel
        settings.objective.check(settings, ranks=group.size, num_classes=self.num_classes)
        context = ObjectiveContext(
            backbone=backbone,
            comm=group,
            device=self.device,
            optimiser=settings.recipe.optimiser,
            seed=settings.seed,
            num_classes=self.num_classes,
            embedding_dim=settings.model.embedding_dim,
        )
        return build_objective(settings.objective, context)

    def assemble(self, backbone: nn.Module, objective: Objective, feed: FeedLike) -> Parts:
        """The parts around a backbone, an objective and a feed; a collective."""
        settings = self.settings
        context = StrategyContext(
            modules=[backbone, objective],
            optimiser=build_optimiser(settings.recipe.optimiser, [backbone, objective]),
            topology=self.topology,
            clip_norm=settings.recipe.optimiser.clip_norm,
            has_loss_scaling=needs_loss_scaling(settings.recipe.precision, self.device),
            local_updates=objective.local_updates,
        )
        return Parts(
            settings=settings,
            topology=self.topology,
            device=self.device,
            feed=feed,
            backbone=backbone,
            objective=objective,
            strategy=build_strategy(settings.strategy, context),
            learning_rate=_learning_rate(settings, feed.steps_per_epoch),
            num_classes=self.num_classes,
        )


def device_of(comm: Comm) -> torch.device:
    """The GPU of this rank, the CPU where there is none; ranks share GPUs where a host has fewer of them."""
    num_gpus = torch.cuda.device_count()
    return torch.device("cuda", comm.local_rank % num_gpus) if num_gpus else torch.device("cpu")


def num_classes_of(settings: TrainingSettings, dataset: Path) -> int:
    """The identities of the train split.

    Raises:
        UserError: ``feed.location`` holds another dataset, or there are too few identities.
    """
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


def _learning_rate(settings: TrainingSettings, steps_per_epoch: int) -> Callable[[int], float]:
    recipe = settings.recipe

    def rate(step: int) -> float:
        return learning_rate(
            recipe.schedule,
            step=step,
            steps_per_epoch=steps_per_epoch,
            epochs=recipe.epochs,
            global_batch_size=recipe.batch_size,
        )

    return rate
