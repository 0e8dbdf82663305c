"""Objectives: from features (B, D) and labels (B,) to the loss that is minimised.

Read ``objective`` (the interface), ``settings`` (the table) and ``heads`` (the builders of classification heads):
``margin`` and ``adaface`` (cosines to logits), ``logits`` and ``softmax`` (all centres on every rank). Then, for
millions of identities, one of two ways: ``partial_fc`` (centres that the ranks share out: ``sharded_centres``,
``sampling``, ``distributed_softmax``), or ``f2c`` (no centres, a pool of recent features: ``class_pool``, ``lru``).
Losses between pictures (``contrastive``, ``triplet``) are composed of ``distances``, ``miners`` and ``reducers``, and
``weighted_sum`` adds objectives up.
"""
