"""The builders of classification heads: a margin, on centres that every rank holds or that the ranks share out."""

from functools import partial

import torch

from training.objectives.adaface import AdaFace
from training.objectives.centres import ClassCentres
from training.objectives.context import ObjectiveContext
from training.objectives.head_settings import (
    CENTRES,
    AdaFaceSettings,
    ArcFaceSettings,
    CentreSettings,
    CombinedSettings,
    CosFaceSettings,
    ReplicatedSettings,
    ShardedSettings,
    SoftmaxSettings,
)
from training.objectives.logits import Logits, from_cosines
from training.objectives.margin import arcface, combined, cosface
from training.objectives.objective import Objective
from training.objectives.partial_fc import PartialFC
from training.objectives.sharded_centres import ShardedCentres, classes_of
from training.objectives.softmax import Softmax
from training.settings import SgdSettings


def build_softmax(settings: SoftmaxSettings, context: ObjectiveContext) -> Objective:
    return build_head(Logits(None), settings.centres, context)


def build_arcface(settings: ArcFaceSettings, context: ObjectiveContext) -> Objective:
    margin = from_cosines(partial(arcface, margin=settings.margin, scale=settings.scale))
    return build_head(Logits(margin, filter_threshold=settings.filter_threshold), settings.centres, context)


def build_cosface(settings: CosFaceSettings, context: ObjectiveContext) -> Objective:
    margin = from_cosines(partial(cosface, margin=settings.margin, scale=settings.scale))
    return build_head(Logits(margin, filter_threshold=settings.filter_threshold), settings.centres, context)


def build_combined(settings: CombinedSettings, context: ObjectiveContext) -> Objective:
    margin = from_cosines(partial(combined, margins=settings.margins, scale=settings.scale))
    return build_head(Logits(margin, filter_threshold=settings.filter_threshold), settings.centres, context)


def build_adaface(settings: AdaFaceSettings, context: ObjectiveContext) -> Objective:
    # Sharded centres meet the features of all ranks, and so their norms.
    is_replicated = isinstance(settings.centres, ReplicatedSettings)
    margin = AdaFace(settings, gather=partial(context.comm.allgather, name="norms") if is_replicated else None)
    return build_head(Logits(margin, filter_threshold=settings.filter_threshold), settings.centres, context)


def build_head(logits: Logits, centres: CentreSettings, context: ObjectiveContext) -> Objective:
    """The softmax cross-entropy of these logits over all identities."""
    head: Objective = CENTRES.builder(centres)(centres, logits, context)
    return head


def build_replicated(centres: ReplicatedSettings, logits: Logits, context: ObjectiveContext) -> Softmax:
    return Softmax(ClassCentres(context.num_classes, context.embedding_dim), logits)


def build_sharded(centres: ShardedSettings, logits: Logits, context: ObjectiveContext) -> PartialFC:
    assert isinstance(context.optimiser, SgdSettings), "HeadSettings.check refuses every other optimiser"
    shard = ShardedCentres(
        classes_of(context.comm.rank, size=context.comm.size, num_classes=context.num_classes),
        context.num_classes,
        context.embedding_dim,
        seed=context.seed,
        sgd=context.optimiser,
        bank=context.device if centres.bank == "device" else torch.device("cpu"),
    )
    return PartialFC(shard, logits, context.comm, sample_rate=centres.sample_rate, seed=context.seed)
