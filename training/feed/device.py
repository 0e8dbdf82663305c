"""The way of the batches to the device of the model, ahead of the steps, in the thread that makes them.

The copies run in a CUDA stream of their own, from pinned blocks, so that they neither wait for the step on an earlier
batch nor hold it up. A CPU takes the batches as they are.
"""

from collections.abc import Generator
from contextlib import closing

import torch

from training.feed.batch import Batch


def on_device(
    batches: Generator[Batch, None, None], device: torch.device, *, with_labels: bool = True
) -> Generator[Batch, None, None]:
    """The same batches with their pixels and extras, and their labels if asked for, on the device.

    The generator of the batches is closed with this one.
    """
    with closing(batches):
        if device.type != "cuda":
            yield from batches
            return
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        for batch in batches:
            with torch.cuda.stream(stream):
                moved = batch.to(device, with_labels=with_labels)
            stream.synchronize()  # else the block of pixels might be painted anew before it is copied
            yield moved


def take_over(batch: Batch) -> Batch:
    """Tell the allocator that the stream of the caller uses the batch, which another stream has made."""
    for tensor in batch.tensors():
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return batch
