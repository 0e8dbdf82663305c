"""Gradients averaged over the ranks in buckets, each on its way while backward still computes the next.

Backward produces gradients roughly in reverse order of registration, so buckets are filled in that order. Which
gradients share a bucket, and in which order the buckets leave, depends on the parameters alone, never on timing: every
sum has the same terms in the same order in every run (Horovod's own packing, the other source of disorder, is off, see
training/comm/horovod.py). The idea is that of Li et al. 2020 (arXiv 2006.15704, section 3.2).
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from training.comm.protocol import Comm, Handle


@dataclass(frozen=True)
class _Bucket:
    parameters: list[nn.Parameter]
    flat: Tensor  # the gradients of the parameters, end to end

    def pieces(self, flat: Tensor) -> list[Tensor]:
        """Views of a flat tensor, each with the shape and memory layout of its parameter."""
        parts = torch.split(flat, [parameter.numel() for parameter in self.parameters])
        return [part.as_strided(p.size(), p.stride()) for part, p in zip(parts, self.parameters, strict=True)]


class GradientBuckets:
    """Averages the gradients of the parameters over the ranks: ``reset``, backward, ``finish``.

    A parameter that got no gradient counts as zero, since other ranks may have one.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], comm: Comm, *, bucket_bytes: int, is_halved: bool) -> None:
        """Hook into the parameters; ``is_halved`` sends float16, which halves the traffic and rounds the gradients."""
        self._comm = comm
        self._is_halved = is_halved
        self._buckets = [
            _Bucket(members, _room_for(members)) for members in compose(parameters, bucket_bytes=bucket_bytes)
        ]
        for index, bucket in enumerate(self._buckets):
            for parameter, piece in zip(bucket.parameters, bucket.pieces(bucket.flat), strict=True):
                # Weakly, since a circle that leads through a hook of a parameter is collected by nobody.
                fill = partial(_fill, weakref.ref(self), index, piece)
                parameter.register_post_accumulate_grad_hook(fill)  # type: ignore[no-untyped-call]
        self.reset()

    def reset(self) -> None:
        """Forget the gradients of the last step."""
        for bucket in self._buckets:
            for parameter in bucket.parameters:
                parameter.grad = None
        self._num_missing = [len(bucket.parameters) for bucket in self._buckets]
        self._handles: list[Handle] = []

    def finish(self) -> None:
        """Wait for all averages and put them in place of the gradients."""
        for bucket, num_missing in zip(self._buckets, self._num_missing, strict=True):
            if num_missing:
                self._fill_up(bucket)
        self._num_missing = [0] * len(self._buckets)
        self._send_full_ones()
        for bucket, handle in zip(self._buckets, self._handles, strict=True):
            averaged = handle.wait().to(bucket.flat.dtype)
            for parameter, piece in zip(bucket.parameters, bucket.pieces(averaged), strict=True):
                parameter.grad = piece

    def fill(self, index: int, piece: Tensor, parameter: Tensor) -> None:
        """Take a gradient that backward has finished; called by the hook of its parameter."""
        assert parameter.grad is not None
        assert self._num_missing[index] > 0, "one backward per step: the bucket has left already"
        piece.copy_(parameter.grad)
        self._num_missing[index] -= 1
        self._send_full_ones()

    def _fill_up(self, bucket: _Bucket) -> None:
        for parameter, piece in zip(bucket.parameters, bucket.pieces(bucket.flat), strict=True):
            if parameter.grad is None:
                piece.zero_()

    def _send_full_ones(self) -> None:
        """Send what is full, in order: all ranks must start the same collectives in the same order."""
        while len(self._handles) < len(self._buckets) and not self._num_missing[len(self._handles)]:
            self._handles.append(self._send(len(self._handles)))

    def _send(self, index: int) -> Handle:
        flat, name = self._buckets[index].flat, f"gradients.{index}"
        if not self._is_halved:
            return self._comm.allreduce_async(flat, op="mean", name=name)
        # Divided before the sum, which could pass the largest float16 (65504) where the mean does not.
        return self._comm.allreduce_async((flat / self._comm.size).half(), op="sum", name=name)


def _fill(buckets: "weakref.ref[GradientBuckets]", index: int, piece: Tensor, parameter: Tensor) -> None:
    """The hook of a parameter."""
    if (alive := buckets()) is not None:
        alive.fill(index, piece, parameter)


def compose(parameters: Sequence[nn.Parameter], *, bucket_bytes: int) -> list[list[nn.Parameter]]:
    """Last parameter first, a new bucket where the next one would not fit or is of another dtype or device."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed(parameters):
        num_bytes = parameter.numel() * parameter.element_size()
        is_alike = buckets and (buckets[-1][0].dtype, buckets[-1][0].device) == (parameter.dtype, parameter.device)
        if not is_alike or num_bytes > room:
            buckets.append([])
            room = bucket_bytes
        buckets[-1].append(parameter)
        room -= num_bytes
    return buckets


def _room_for(parameters: Sequence[nn.Parameter]) -> Tensor:
    num_values = sum(parameter.numel() for parameter in parameters)
    return torch.empty(num_values, dtype=parameters[0].dtype, device=parameters[0].device)
