"""The memory that a step needs on top of what it finds, for tests of capacity."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_of(step: Callable[[], None], device: torch.device) -> int:
    """The most bytes that a step adds to what it finds, which is the same before and after it."""
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most
