"""Objectives: what is minimised. Features (B, D) and labels (B,) in, a scalar loss out.

Read ``objective`` (the interface), ``margin`` and ``adaface`` (cosines to logits), ``logits`` and ``softmax`` (all
centres on every rank). Then, for identities by the million, one of two ways: ``partial_fc`` (centres that the ranks
share out: ``sharded_centres``, ``sampling``, ``distributed_softmax``), or ``f2c`` (no centres, a pool of recent
features: ``class_pool``, ``lru``).
"""

from training.objectives.build import Surroundings, build_objective
from training.objectives.objective import Embed, Objective
from training.objectives.settings import ObjectiveSettings

__all__ = ["Embed", "Objective", "ObjectiveSettings", "Surroundings", "build_objective"]
