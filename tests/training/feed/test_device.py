"""A CPU takes the batches as they were made; what makes them ends with whoever takes them. GPUs: tests/gpu."""

from collections.abc import Generator

import torch

from training.feed.batch import Batch
from training.feed.device import on_device, take_over


def drawn(closed: list[bool]) -> Generator[Batch, None, None]:
    generator = torch.Generator().manual_seed(0)
    try:
        for number in range(5):
            images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
            yield Batch(images, torch.arange(4) + number, [str(number)] * 4)
    finally:
        closed.append(True)


def test_a_cpu_takes_the_batches_as_they_are() -> None:
    closed: list[bool] = []
    made = list(drawn([]))
    for batch, expected in zip(on_device(drawn(closed), torch.device("cpu")), made, strict=True):
        assert take_over(batch) is batch
        assert batch.images.stride() == expected.images.stride()
        assert (batch.images == expected.images).all()
    assert closed == [True]


def test_what_makes_the_batches_is_closed_with_them() -> None:
    closed: list[bool] = []
    batches = on_device(drawn(closed), torch.device("cpu"))
    next(batches)
    batches.close()
    assert closed == [True]
