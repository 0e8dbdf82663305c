"""Memory and traffic of one rank for each way to classify among many identities; arithmetic.

Tables are float32, features travel in the run's precision. What is held between steps follows from the algorithms
(Partial FC: arXiv 2010.05222, section 3, and 2203.15565; F2C: arXiv 2105.10375, section 3). What a step needs at its
peak is that of this project's code: either logits, slopes and probabilities lie side by side, or the gradient of the
centres and two tables as large as the logits; what is updated at once of a sample is small. Traffic is what a rank
sends on a ring of k (Patarasuk and Yuan 2009): 2 (k - 1) / k of what is averaged, k - 1 times its own part of what is
gathered, (k - 1) / k of what is summed and shared out; over Gloo, which makes a whole sum of that, twice as much. The
backbone, with its gradients and activations, is in none of these figures; F2C holds a second one.
"""

import math
from dataclasses import dataclass

from training.objectives.settings import half_step_pictures

_FLOAT = 4  # bytes, of what tables and logits hold
_INDEX = 8  # bytes of a label
_SLOT = 128  # bytes of the host's memory for a slot of a pool: three numbers, and the entry of a dictionary


@dataclass(frozen=True)
class HeadCost:
    """Bytes of one rank."""

    way: str
    held: int  # on the device, between steps
    peak: int  # on the device in a step, on top of that
    host: int  # in main memory
    sent: int  # in a step

    @property
    def on_device(self) -> int:
        return self.held + self.peak


@dataclass(frozen=True)
class HeadSize:
    """The sizes on which the figures depend."""

    identities: int
    embedding_dim: int
    ranks: int
    batch: int  # pictures of one rank in a step
    sample_rate: float  # of Partial FC
    slots: int  # of F2C's pool
    feature_bytes: int  # of one value on the way between ranks: 4, or 2 in half precision
    gradient_bytes: int  # likewise, where the gradients of whole tables are averaged

    @property
    def shard(self) -> int:
        """The centres of a rank."""
        return math.ceil(self.identities / self.ranks)

    @property
    def sampled(self) -> int:
        """Those of them in a step."""
        return math.ceil(self.sample_rate * self.shard)


def head_costs(size: HeadSize) -> list[HeadCost]:
    """Every way, the one that most people know first."""
    sampled = f"Partial FC {size.sample_rate:g}"
    return [
        _replicated(size),
        _sharded(size, "sharded", size.shard),
        _dense(size, f"{sampled}, dense update"),
        _sharded(size, sampled, size.sampled),
        _banked(size, f"{sampled}, bank=host"),
        _pool(size),
    ]


def _replicated(size: HeadSize) -> HeadCost:
    """Every rank has all centres, their momentum and the bucket in which their gradient travels."""
    table = _FLOAT * size.identities * size.embedding_dim
    logits = _FLOAT * size.identities * size.batch
    on_wire = size.gradient_bytes * size.identities * size.embedding_dim
    return HeadCost("full, on every rank", 3 * table, max(4 * logits, 2 * logits + table), 0, _averaged(on_wire, size))


def _sharded(size: HeadSize, way: str, in_step: int) -> HeadCost:
    """Each rank has a part of the centres and of their momentum; what a step samples is copied out of it."""
    held = 2 * _FLOAT * size.shard * size.embedding_dim
    return HeadCost(way, held, _sharded_peak(size, in_step), 0, _sharded_sent(size))


def _dense(size: HeadSize, way: str) -> HeadCost:
    """As in the second version of InsightFace: the gradient is as large as the part, and every row is updated.

    The centres are normalised first, and the gradient comes back through that.
    """
    part = _FLOAT * size.shard * size.embedding_dim
    centres = _FLOAT * size.sampled * size.embedding_dim
    logits = _FLOAT * size.sampled * size.batch * size.ranks
    in_step = max(3 * logits + 2 * centres, 5 * centres) + centres + _gathered(size)
    return HeadCost(way, 2 * part, max(in_step, 2 * part), 0, _sharded_sent(size))


def _banked(size: HeadSize, way: str) -> HeadCost:
    """The part lies in main memory."""
    bank = 2 * _FLOAT * size.shard * size.embedding_dim
    return HeadCost(way, 0, _sharded_peak(size, size.sampled), bank, _sharded_sent(size))


def _pool(size: HeadSize) -> HeadCost:
    """Two features for each slot, and on the host whose they are; a half-step at a time."""
    pictures = half_step_pictures(size.batch)
    written = min(size.slots, pictures * size.ranks)
    peak = _FLOAT * (7 * pictures * size.slots + 3 * written * size.embedding_dim)
    gathered = pictures * (_FLOAT * size.embedding_dim + _INDEX)
    held = 2 * _FLOAT * size.slots * size.embedding_dim
    return HeadCost("F2C's pool", held, peak, _SLOT * size.slots, 2 * (size.ranks - 1) * gathered)


def _sharded_peak(size: HeadSize, in_step: int) -> int:
    centres = _FLOAT * in_step * size.embedding_dim
    logits = _FLOAT * in_step * size.batch * size.ranks
    copied = centres if in_step < size.shard else 0
    return max(3 * logits, 2 * logits + centres) + copied + _gathered(size)


def _gathered(size: HeadSize) -> int:
    """The features of all ranks, normalised, and their gradient."""
    return 3 * _FLOAT * size.batch * size.ranks * size.embedding_dim


def _sharded_sent(size: HeadSize) -> int:
    """Features and labels out, three numbers for each feature of all ranks, gradients of the features back."""
    gathered = size.batch * (size.feature_bytes * size.embedding_dim + _INDEX)
    returned = size.batch * _FLOAT * size.embedding_dim
    return (size.ranks - 1) * (gathered + returned) + _averaged(3 * _FLOAT * size.batch * size.ranks, size)


def _averaged(num_bytes: int, size: HeadSize) -> int:
    return 2 * (size.ranks - 1) * num_bytes // size.ranks
