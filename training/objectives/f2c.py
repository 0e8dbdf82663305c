"""F2C, Faster Face Classification (Wang et al. 2022, arXiv 2105.10375): a pool of recent features as the classifier.

The probe net P (the backbone) is trained; the gallery net G follows it, ``G <- m G + (1 - m) P``, and has no gradient.
A batch has two sides, x and y, each with one picture of every identity drawn and a half of the pictures drawn from all.
A half-step writes one side's features by G, of all ranks, into the pool and holds the other side's by P against it:

    half(P(x), G(y)), undone in the pool;  half(P(y), G(x)), which stays;  the loss is the sum of the two

A half's loss is the sum over two classifiers (row 0 of each slot; row 1 where the half wrote a slot anew) of the mean
cross-entropy with margin over probes in the pool, and of what the k nearest slots say of the others:
``w mean(max(0, cosine))``, k = Q / 5000 but 3 to 10. Memory and time do not depend on the number of identities.

Not as in the authors' code: w is a setting; of several features for one place the last stays; what ``lru`` says; the
probes' gradient is taken before the pool changes again; the ranks compare their pools from time to time.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pipelines.arrays import IntArray
from pipelines.settings import UserError
from training.comm.protocol import Comm
from training.feed.batch import Batch, Extra
from training.feed.plans.dual import FIRST, IDENTITIES, SECOND
from training.objectives.class_pool import ClassPool, Written
from training.objectives.context import ObjectiveContext
from training.objectives.logits import Margin, from_cosines
from training.objectives.loss import Loss
from training.objectives.margin import arcface, cosface
from training.objectives.objective import Embed, Objective
from training.objectives.settings import ClassPoolSettings, PoolSettings

Side = tuple[Tensor, Tensor]  # images (B, 3, H, W) and labels (B,), both on the host

_MARGINS = {"arcface": arcface, "cosface": cosface}


class F2C(Objective):
    """The loss of one rank's probes; takes batches of the plan "dual"; a collective."""

    def __init__(
        self, backbone: nn.Module, pool: ClassPool, margin: Margin, comm: Comm, *, settings: PoolSettings
    ) -> None:
        """The gallery net begins as a copy of the backbone."""
        super().__init__()
        self.gallery = copy.deepcopy(backbone).requires_grad_(False)
        self.pool = pool
        self._margin = margin
        self._comm = comm
        self._settings = settings
        self._num_nearest = min(max(len(pool) // 5000, 3), 10)
        self._num_steps = 0

    def compute(self, batch: Batch, backbone: nn.Module, embed: Embed) -> Loss:
        x, y = sides(batch)
        self._update_ema(backbone)
        first = self._half(x, y, lambda images: embed(backbone, images), embed, stays=False)
        loss = first + self._half(y, x, lambda images: embed(backbone, images), embed, stays=True)
        self._num_steps += 1
        if self._num_steps % self._settings.check_every_steps == 0:
            self._compare_pools()
        return Loss(loss)

    def forward(self, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Features (B, D) and labels (B,) -> the loss of probes against the pool as it stands."""
        nothing = torch.empty(0, dtype=torch.int64, device=self.pool.features_2QD.device)
        return self._loss(features_BD, self.pool.slots(labels_B.cpu().numpy()), nothing)

    @torch.no_grad()
    def _update_ema(self, backbone: nn.Module) -> None:
        for mine, theirs in zip(self.gallery.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs.to(mine.dtype), 1 - self._settings.momentum)

    def _half(
        self, probes: Side, gallery: Side, probe: Callable[[Tensor], Tensor], embed: Embed, *, stays: bool
    ) -> Tensor:
        features_BD = probe(probes[0])
        with torch.no_grad():
            self.gallery.train(self.training)
            written = self._write(
                functional.normalize(embed(self.gallery, gallery[0]).to(self.pool.features_2QD.dtype)), gallery[1]
            )
        loss = self._loss(features_BD, self.pool.slots(probes[1].numpy()), written.again)
        if not stays:
            self.pool.undo(written)
        return loss

    def _write(self, features_BD: Tensor, labels_B: Tensor) -> Written:
        features_ND = self._comm.allgather(features_BD, name="pool.features")
        ids_N: IntArray = self._comm.allgather(labels_B, name="pool.labels").numpy()
        return self.pool.write(ids_N, features_ND)

    def _loss(self, features_BD: Tensor, slots_B: IntArray, again_R: Tensor) -> Tensor:
        def loss_of(leaf_BD: Tensor) -> Tensor:
            with torch.autocast(leaf_BD.device.type, enabled=False):
                return self._margin_loss(leaf_BD, slots_B, again_R)

        dtype = self.pool.features_2QD.dtype
        loss: Tensor = EagerGradient.apply(features_BD, loss_of, dtype)  # type: ignore[no-untyped-call]
        return loss

    def _margin_loss(self, features_BD: Tensor, slots_B: IntArray, again_R: Tensor) -> Tensor:
        device = features_BD.device
        inside_I = torch.from_numpy((slots_B >= 0).nonzero()[0]).to(device)
        outside_O = torch.from_numpy((slots_B < 0).nonzero()[0]).to(device)
        slots_I = torch.from_numpy(slots_B[slots_B >= 0]).to(device)
        norms_I = features_BD.detach().norm(dim=1)[inside_I]
        unit_BD = functional.normalize(features_BD)
        first_BQ = functional.linear(unit_BD, self.pool.features_2QD[0])
        second_BQ = first_BQ.index_copy(1, again_R, functional.linear(unit_BD, self.pool.features_2QD[1, again_R]))
        loss = features_BD.new_zeros(())
        for cosine_BQ in (first_BQ, second_BQ):
            if len(inside_I):
                loss = loss + functional.cross_entropy(self._margin(cosine_BQ[inside_I], slots_I, norms_I), slots_I)
            if len(outside_O):
                nearest = cosine_BQ[outside_O].topk(self._num_nearest, dim=1).values.clamp_min(0)
                loss = loss + self._settings.outside_weight * nearest.mean()
        return loss

    def _compare_pools(self) -> None:
        digests = self._comm.allgather_object(self.pool.digest(), name="pool.digests")
        if len(set(digests)) > 1:
            raise RuntimeError(f"the class pools of the ranks are no longer the same: {[text[:8] for text in digests]}")


def build(settings: ClassPoolSettings, context: ObjectiveContext) -> F2C:
    """F2C with an empty pool."""
    pool = ClassPool(settings.pool.slots, context.embedding_dim)
    margin = from_cosines(partial(_MARGINS[settings.pool.margin], margin=settings.margin, scale=settings.scale))
    return F2C(context.backbone, pool, margin, context.comm, settings=settings.pool)


def sides(batch: Batch) -> tuple[Side, Side]:
    """The two sides of a batch: a picture of each identity, then a half of the pictures drawn from all."""
    if not {FIRST, SECOND, IDENTITIES} <= batch.extras.keys():
        raise UserError("objective.name=class_pool needs batches of two views, which this feed does not give")
    half = len(batch.labels) // 2
    parts = (FIRST, slice(0, half)), (SECOND, slice(half, None))
    x, y = (
        (
            torch.cat([_tensor(batch.extras[view]), batch.images[part]]),
            torch.cat([_tensor(batch.extras[IDENTITIES]), batch.labels[part]]),
        )
        for view, part in parts
    )
    return x, y


def _tensor(extra: Extra) -> Tensor:
    assert isinstance(extra, Tensor)
    return extra


class EagerGradient(torch.autograd.Function):
    """A loss whose gradient is taken in the forward pass: what it was measured against may then change, and neither a
    copy of the pool nor the logits of the first half wait for backward."""

    @staticmethod
    def forward(ctx: Any, features_BD: Tensor, loss_of: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
        ctx.dtype = features_BD.dtype
        with torch.enable_grad():
            leaf_BD = features_BD.detach().to(dtype).requires_grad_()
            loss = loss_of(leaf_BD)
        if features_BD.requires_grad:
            ctx.save_for_backward(*torch.autograd.grad(loss, leaf_BD))
        return loss.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope_BD,) = ctx.saved_tensors
        return (slope_BD * gradient).to(ctx.dtype), None, None
