"""Batches reach the device as they were made; what makes them ends with whoever takes them."""

from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch

from training.feed import Batch, Feed, FeedSettings
from training.feed.decode import DecodeSettings
from training.feed.device import on_device, take_over

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


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


@needs_cuda
def test_a_cuda_device_gets_the_same_pixels_while_blocks_are_painted_anew(write_dataset: Callable[..., Any]) -> None:
    folder = write_dataset([[40] * 8]).folder
    settings = FeedSettings(decode=DecodeSettings(size_px=16), threads=4)
    here, there = (
        Feed(folder, "train", settings, seed=0, global_batch_size=8, rank=0, size=1, device=torch.device(name))
        for name in ("cpu", "cuda")
    )
    for epoch in range(3):
        for one, other in zip(here.epoch(epoch), there.epoch(epoch), strict=True):
            assert other.images.is_cuda
            assert other.labels.is_cuda
            assert (other.images.cpu() == one.images).all()
            assert other.images.stride() == one.images.stride()
            assert (other.labels.cpu() == one.labels).all()
