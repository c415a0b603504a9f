"""Where time goes inside a piece of work, by torch's own profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

T = TypeVar("T")


def profiled(work: Callable[[], T], most: int = 12) -> tuple[list[dict[str, Any]], T]:
    """Do some work under the profiler.

    Returns:
        The operators that took most of the time, each with its share of the time in all operators and how often it was
        called; and what the work returned.
    """
    # The engine works in a thread of its own.
    every_thread = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)  # noqa: SLF001
    with profile(activities=[ProfilerActivity.CPU], experimental_config=every_thread) as seen:
        result = work()
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events) or 1.0
    return [{"name": event.key, "share": event.self_cpu_time_total / total, "calls": event.count} for event in events[:most]], result
