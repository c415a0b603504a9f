"""Plan: what a run will take, measured on two of its own batches before it begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from langchain_softprompt.training.batches import batches
from langchain_softprompt.training.loop import TrainingLoop
from langchain_softprompt.training.sweep import RATES, sweep_steps


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take.

    Attributes:
        rows: Rows to learn from.
        validation_rows: Rows that each look reads.
        virtual_tokens: Length of the soft prompt.
        parameters: Numbers that are learned.
        steps: Steps of the run.
        sweep_steps: Steps spent on finding the learning rate.
        tokens: Text and completion tokens that its steps will read.
        seconds: Expected time, looks included.
        memory_bytes: Most memory the process has taken, its longest batch read and the model included; ``None`` where
            the system does not say.
    """

    rows: int
    validation_rows: int
    virtual_tokens: int
    parameters: int
    steps: int
    sweep_steps: int
    tokens: int
    seconds: float
    memory_bytes: int | None


def make_plan(loop: TrainingLoop, lengths: Sequence[int], watched: Sequence[int], *, sweeps: bool) -> Plan:
    """Read the longest batch for memory and one of middle length for time; nothing is learned from them.

    Args:
        loop: The run, before its first step.
        lengths: Tokens of each example.
        watched: Tokens of each validation row.
        sweeps: Whether learning rates will be tried first.
    """
    settings, steps = loop.settings, loop.steps
    planned = list(islice(batches(loop.examples, settings.batch_size, settings.seed), steps))
    sizes = [sum(lengths[row] for row in rows) for rows in planned]
    order = sorted(range(steps), key=sizes.__getitem__)
    for rows in (planned[order[-1]], planned[order[steps // 2]]):
        began = time.perf_counter()
        loop.loss(rows).backward()
        seconds = time.perf_counter() - began
    for parameter in loop.learner.parameters.values():
        parameter.grad = None
    tried = sweep_steps(steps) * len(RATES[settings.method]) if sweeps else 0
    a_token = seconds / max(1, sizes[order[steps // 2]])
    looked = sum(watched) / 2  # Half a step's work a token: no way back.
    looks = steps // settings.looks_every(steps) + 1
    tokens = sum(sizes)
    return Plan(
        rows=len(lengths),
        validation_rows=len(watched),
        virtual_tokens=loop.learner.prefix().length,
        parameters=sum(parameter.numel() for parameter in loop.learner.parameters.values()),
        steps=steps,
        sweep_steps=tried,
        tokens=tokens,
        seconds=a_token * (tokens * (1 + tried / steps) + looked * looks),
        memory_bytes=_most_memory(),
    )


def _most_memory() -> int | None:
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


__all__ = ["Plan", "make_plan"]
