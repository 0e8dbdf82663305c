"""The batch: the pictures of one step on one rank, their labels, and whatever else the objective asked for.

An extra is a tensor (further views of the pictures, a number per picture) or ragged (boxes, of which one picture has
none and another many). The names of the extras are those of dataset columns, or are fixed by the plan that made them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from training.feed.bad_rows import BadRowError


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths, one for each of B pictures, one behind the other."""

    values: Tensor  # (N, ...) of all pictures
    offsets: Tensor  # int64 (B + 1,): those of picture b are values[offsets[b] : offsets[b + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, row: int) -> Tensor:
        """The values of one picture."""
        begin, end = self.offsets[row : row + 2].tolist()
        return self.values[begin:end]

    def part(self, begin: int, end: int) -> "Ragged":
        """Those of the pictures ``begin`` to ``end``."""
        offsets = self.offsets[begin : end + 1]
        first, last = offsets[[0, -1]].tolist()
        return Ragged(self.values[first:last], offsets - offsets[0])


Extra = Tensor | Ragged


@dataclass(frozen=True)
class Batch:
    """The rows of one step on one rank."""

    images: Tensor  # uint8 (B, 3, H, W), RGB, in channels_last memory
    labels: Tensor  # int64 (B,)
    image_ids: list[str]  # B of them
    extras: Mapping[str, Extra] = field(default_factory=dict)
    bad_rows: tuple[BadRowError, ...] = ()  # in whose place others are shown

    @property
    def num_pictures(self) -> int:
        """Its images and the further views among its extras, which have the shape and type of the images."""
        shape, dtype = self.images.shape[1:], self.images.dtype
        tensors = [extra for extra in self.extras.values() if isinstance(extra, Tensor)]
        return len(self.images) + sum(len(one) for one in tensors if one.shape[1:] == shape and one.dtype == dtype)

    def part(self, begin: int, end: int) -> "Batch":
        """The pictures ``begin`` to ``end``, in the same memory; the bad rows stay with the whole."""
        return Batch(
            self.images[begin:end],
            self.labels[begin:end],
            self.image_ids[begin:end],
            {
                name: extra.part(begin, end) if isinstance(extra, Ragged) else extra[begin:end]
                for name, extra in self.extras.items()
            },
        )

    def to(self, device: torch.device, *, with_labels: bool = True) -> "Batch":
        """A copy on the device, where the labels follow only if asked for; copies from pinned memory are not waited
        for.
        """

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        def move_extra(extra: Extra) -> Extra:
            return Ragged(move(extra.values), move(extra.offsets)) if isinstance(extra, Ragged) else move(extra)

        return replace(
            self,
            images=move(self.images),
            labels=move(self.labels) if with_labels else self.labels,
            extras={name: move_extra(extra) for name, extra in self.extras.items()},
        )

    def tensors(self) -> Iterator[Tensor]:
        """All that it holds."""
        yield self.images
        yield self.labels
        for extra in self.extras.values():
            yield from (extra.values, extra.offsets) if isinstance(extra, Ragged) else (extra,)
