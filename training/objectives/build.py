"""From settings to an objective."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pipelines.settings import UserError
from training.comm.protocol import Comm
from training.objectives.adaface import AdaFace
from training.objectives.centres import ClassCentres
from training.objectives.class_pool import ClassPool
from training.objectives.f2c import F2C
from training.objectives.logits import Logits, Margin
from training.objectives.margin import arcface, combined, cosface
from training.objectives.objective import Objective
from training.objectives.partial_fc import PartialFC
from training.objectives.settings import ObjectiveSettings
from training.objectives.sharded_centres import ShardedCentres, classes_of
from training.objectives.softmax import Softmax
from training.settings import OptimiserSettings, SgdSettings


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective has to know of the run."""

    backbone: nn.Module
    comm: Comm
    device: torch.device
    optimiser: OptimiserSettings
    seed: int


def build_objective(
    settings: ObjectiveSettings, around: ObjectiveContext, *, num_classes: int, embedding_dim: int
) -> Objective:
    """The objective with freshly drawn centres, on the device.

    Centres that all ranks hold depend on torch's seed alone, those that they share out on the run's seed.

    Raises:
        UserError: the optimiser cannot update shared-out centres, or there are fewer classes than ranks.
    """
    objective: Objective
    if settings.name == "class_pool":
        pool = ClassPool(settings.pool.slots, embedding_dim)
        margin = _fixed_margin(settings, settings.pool.margin)
        objective = F2C(around.backbone, pool, margin, around.comm, settings=settings.pool)
    elif settings.sharded:
        objective = _build_sharded(settings, around, num_classes=num_classes, embedding_dim=embedding_dim)
    else:
        gather = partial(around.comm.allgather, name="norms")
        objective = Softmax(ClassCentres(num_classes, embedding_dim), _build_logits(settings, gather=gather))
    return objective.to(around.device)


def _build_sharded(
    settings: ObjectiveSettings, around: ObjectiveContext, *, num_classes: int, embedding_dim: int
) -> PartialFC:
    if not isinstance(around.optimiser, SgdSettings):
        raise UserError(
            f"objective.sharded=true and recipe.optimiser.name={around.optimiser.name}: shared-out centres are "
            "updated by sgd; choose it, or set objective.sharded=false"
        )
    if num_classes < around.comm.size:
        raise UserError(
            f"objective.sharded=true and {num_classes} identities for {around.comm.size} ranks; "
            "set objective.sharded=false, or take fewer ranks"
        )
    centres = ShardedCentres(
        classes_of(around.comm.rank, size=around.comm.size, num_classes=num_classes),
        num_classes,
        embedding_dim,
        seed=around.seed,
        sgd=around.optimiser,
        bank=around.device if settings.bank == "device" else torch.device("cpu"),
    )
    logits = _build_logits(settings, gather=None)
    return PartialFC(centres, logits, around.comm, sample_rate=settings.sample_rate, seed=around.seed)


def _build_logits(settings: ObjectiveSettings, *, gather: Callable[[Tensor], Tensor] | None) -> Logits:
    if settings.name == "softmax":
        return Logits(None)
    margin: Margin
    if settings.name == "adaface":
        assert settings.margin is not None
        assert settings.scale is not None
        margin = AdaFace(settings.adaface, margin=settings.margin, scale=settings.scale, gather=gather)
    else:
        margin = _fixed_margin(settings, settings.name)
    return Logits(margin, filter_threshold=settings.filter_threshold)


def _fixed_margin(settings: ObjectiveSettings, name: str) -> Margin:
    """A margin that is the same for every feature."""

    def margin(cosine_BC: Tensor, labels_B: Tensor, norms_B: Tensor) -> Tensor:
        assert settings.scale is not None
        if name == "combined":
            assert settings.margins is not None
            return combined(cosine_BC, labels_B, margins=settings.margins, scale=settings.scale)
        assert settings.margin is not None
        function = arcface if name == "arcface" else cosface
        return function(cosine_BC, labels_B, margin=settings.margin, scale=settings.scale)

    return margin
