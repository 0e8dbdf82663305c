"""Batches on the device are those of the CPU, bit by bit, however fast or slowly they are taken."""

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training.feed.batch import Batch
from training.feed.blocks import MOST_BLOCKS, Blocks
from training.feed.device import on_device, take_over
from training.feed.feed import Feed
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings
from training.needs import Needs

ROWS, DUAL = Needs(), Needs(plan="dual", layout="identity", views=2)
EVERYTHING = AugmentSettings(crop_area=(0.3, 1.0), brightness=0.3, contrast=0.3, saturation=0.3, blur=0.3, erase=0.3)


@pytest.fixture
def folder(device: torch.device, write_faces: Callable[..., Path]) -> Path:
    if device.type == "cuda":
        return write_faces(identities=64, photos=32, side_px=112)
    return write_faces(identities=6, photos=8, side_px=32)


def feed_for(folder: Path, device: torch.device, needs: Needs = ROWS, **options: Any) -> Feed:
    size_px, batch = (112, 128) if torch.cuda.is_available() else (32, 8)
    settings = FeedSettings(**{"decode": DecodeSettings(size_px=size_px), "augment": EVERYTHING} | options)
    return Feed(folder, "train", settings, seed=3, global_batch_size=batch, rank=0, size=1, needs=needs, device=device)


@pytest.mark.parametrize("needs", [ROWS, DUAL], ids=["rows", "dual"])
def test_the_device_is_shown_what_the_cpu_is_shown_and_a_run_goes_on_in_the_middle(
    needs: Needs, folder: Path, device: torch.device
) -> None:
    # Another number of threads and of batches ahead, so that it is not one and the same on a CPU.
    here = feed_for(folder, torch.device("cpu"), needs)
    there = feed_for(folder, device, needs, threads=4, reader_threads=2, prefetch_batches=3)
    middle = here.steps_per_epoch // 2
    for epoch, start in ((0, 0), (1, 0), (2, middle)):
        passes = [feed.epoch(epoch, start_step=start, has_next_epoch=epoch < 1) for feed in (here, there)]
        for one, other in zip(*passes, strict=True):
            for expected, found in zip(one.tensors(), other.tensors(), strict=True):
                stays = needs is DUAL and found.ndim == 1  # labels, by which the pool looks up slots on the host
                assert found.device.type == ("cpu" if stays else device.type)
                assert found.stride() == expected.stride()
                assert torch.equal(found.cpu(), expected)


def test_the_feed_paints_into_few_blocks_which_are_pinned_for_a_gpu(folder: Path, device: torch.device) -> None:
    feed = feed_for(folder, device)
    for epoch in range(4):
        for _ in feed.epoch(epoch):
            pass
    blocks = feed._blocks._blocks
    # Two are being painted, one is on its way, one waits for the queue, which holds two, and the consumer has one.
    assert 0 < len(blocks) <= 7 < MOST_BLOCKS < 4 * feed.steps_per_epoch
    for block in blocks:
        assert torch.from_numpy(block).is_pinned() == (device.type == "cuda")


def in_one_block(device: torch.device, pictures: int, side_px: int, count: int) -> Generator[Batch, None, None]:
    """The same block for every batch, painted anew as soon as the next is asked for, from its end on: a copy that is
    still under way, which begins at the start, would find other pixels there."""
    block = Blocks(side_px, is_pinned=device.type == "cuda").take(pictures)
    for number in range(count):
        for picture in reversed(range(pictures)):
            block[picture] = number
        images = torch.from_numpy(block).permute(0, 3, 1, 2)
        yield Batch(images, torch.full((pictures,), number), [""] * pictures)


def test_no_block_is_painted_anew_before_it_is_copied(device: torch.device) -> None:
    pictures, side_px = (2048, 224) if device.type == "cuda" else (8, 8)
    batches = on_device(in_one_block(device, pictures, side_px, count=6), device)
    for number, batch in enumerate(map(take_over, batches)):
        # On the device every batch has memory of its own, which the next copy leaves alone.
        assert bool((batch.images == number).all())
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels.tolist() == [number] * pictures


def slowly(device: torch.device) -> Callable[[], None]:
    """Some milliseconds of work for the consumer's stream, which the host does not wait for."""
    if device.type != "cuda":
        return lambda: None
    factor = torch.randn(4096, 4096, device=device)

    def work() -> None:
        for _ in range(8):
            torch.mm(factor, factor)

    return work


@pytest.mark.parametrize("consumer", ["fast", "slow"])
def test_memory_of_a_batch_is_not_used_again_before_the_consumers_stream_has_read_it(
    consumer: str, device: torch.device
) -> None:
    pictures, side_px, count = (512, 112, 40) if device.type == "cuda" else (4, 8, 5)
    work = slowly(device) if consumer == "slow" else lambda: None
    sums = []
    for batch in map(take_over, on_device(in_one_block(device, pictures, side_px, count), device)):
        work()
        sums.append(batch.images.sum(dtype=torch.int64))  # queued behind the work; the host goes on to the next batch
    expected = [number * 3 * pictures * side_px**2 for number in range(count)]
    assert [int(one) for one in sums] == expected


def test_images_per_second_to_the_device(folder: Path, device: torch.device, figures: dict[str, Any]) -> None:
    threads = 12 if device.type == "cuda" else 1
    feed = feed_for(folder, device, threads=threads, reader_threads=2, augment=AugmentSettings())
    epochs = 8 if device.type == "cuda" else 1

    def batches() -> Iterator[Batch]:
        for epoch in range(epochs):
            yield from feed.epoch(epoch, has_next_epoch=epoch + 1 < epochs)

    taken = batches()
    warm_up = next(taken)
    begin = time.perf_counter()
    count = sum(len(batch.labels) for batch in taken)
    if device.type == "cuda":
        torch.cuda.synchronize()
    figures["feed"] = {
        "images_per_second": round(count / (time.perf_counter() - begin)),
        "threads": threads,
        "side_px": warm_up.images.shape[-1],
    }
    assert count == (epochs * feed.steps_per_epoch - 1) * len(warm_up.labels)
