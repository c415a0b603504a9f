"""A pass over the same rows: this package's training against PEFT's in its usual loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.measure import interleave, median_ratio
from benchmarks.process import ROOT, ContenderProcess
from benchmarks.quality.tasks import TASKS
from benchmarks.results import Row, Scenario, Target

_BATCH, _STEPS = 16, 8
_METHODS = ("kv-prefix", "prompt-tuning")
_NAMES = {"kv-prefix": "prefix tuning", "prompt-tuning": "prompt tuning"}


def training(bench: Bench) -> Scenario:
    """banking77 rows, batches of 16, soft prompts as long as the hard prompt, float32, two threads where there are two cores."""
    threads = min(2, os.cpu_count() or 1)
    task = TASKS["banking77"]
    batch, steps = (4, 2) if bench.quick else (_BATCH, _STEPS)
    rows = task.rows("train")[: batch * steps]
    model, template = str(bench.material.model), str(ROOT / "benchmarks" / "quality" / "templates" / "banking77.json")
    samples: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    table = []
    for method in _METHODS:
        with ExitStack() as stack:
            ours = _start(stack, bench, "benchmarks.training_ours", threads)
            facts = ours.ask(
                "prepare", model=model, template=template, rows=rows, target=task.target, method=method, batch=batch, threads=threads
            )
            work: dict[str, Callable[[], dict[str, float]]] = {f"ours, {_NAMES[method]}": lambda ours=ours: ours.ask("learn")}
            if "peft" in bench.peers:
                peft = _start(stack, bench, "benchmarks.peers.peft_training", threads)
                peft.ask(
                    "prepare",
                    model=model,
                    template=task.prompt().instructions[0].template,
                    rows=facts["rows"],
                    method=method,
                    virtual_tokens=facts["virtual_tokens"],
                    batch=batch,
                    threads=threads,
                )
                work[f"PEFT, {_NAMES[method]}"] = lambda peft=peft: peft.ask("learn")
            seen = interleave(work, bench.sizes.rounds)
        for name, passes in seen.items():
            samples[name] = [one["seconds"] / steps for one in passes]
            peaks[name] = max(one["peak_bytes"] for one in passes)
        table += _rows(method, samples, peaks)
    return Scenario(
        name="training",
        title=f"A training step of {batch} banking77 rows, float32, {threads} threads",
        unit="s",
        better="lower",
        samples=samples,
        rows=table,
        facts={f"peak memory of {name}, GB": peak / 1e9 for name, peak in peaks.items()},
    )


def _rows(method: str, samples: dict[str, list[float]], peaks: dict[str, float]) -> list[Row]:
    ours, peft = f"ours, {_NAMES[method]}", f"PEFT, {_NAMES[method]}"
    there = peft in samples
    return [
        Row(
            f"{_NAMES[method]}: steps a second, of PEFT's in its usual loop",
            Target(">=", 2.0, "x"),
            median_ratio(samples[peft], samples[ours]) if there else None,
            "Same rows, same number of steps; PEFT's batches are drawn at random and padded to their longest row.",
        ),
        Row(f"{_NAMES[method]}: most memory, of PEFT's", Target("<=", 1.0, "x"), peaks[ours] / peaks[peft] if there else None),
    ]


def _start(stack: ExitStack, bench: Bench, module: str, threads: int) -> ContenderProcess:
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return stack.enter_context(ContenderProcess(module, sys.executable, bench.logs / f"{module}.log", environment))
