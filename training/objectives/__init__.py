"""Objectives: what is minimised. Features (B, D) and labels (B,) in, a scalar loss out.

Read ``objective`` (the interface), ``margin`` and ``adaface`` (cosines to logits), ``logits`` and ``softmax`` (all
centres on every rank). Then, for identities by the million, one of two ways: ``partial_fc`` (centres that the ranks
share out: ``sharded_centres``, ``sampling``, ``distributed_softmax``), or ``f2c`` (no centres, a pool of recent
features: ``class_pool``, ``lru``).
"""
