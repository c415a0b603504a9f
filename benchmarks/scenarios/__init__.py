"""The scenarios: each is a function from a `Bench` to a `Scenario`, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.results import Scenario
from benchmarks.scenarios.decode import decode
from benchmarks.scenarios.first_token import first_token
from benchmarks.scenarios.importing import importing
from benchmarks.scenarios.many_soft_prompts import many_soft_prompts
from benchmarks.scenarios.memory import memory
from benchmarks.scenarios.mixed_batch import mixed_batch
from benchmarks.scenarios.one_soft_prompt import one_soft_prompt
from benchmarks.scenarios.overhead import overhead
from benchmarks.scenarios.precision import precision
from benchmarks.scenarios.switching import switching
from benchmarks.scenarios.training import training

SCENARIOS: dict[str, Callable[[Bench], Scenario]] = {
    "mixed_batch": mixed_batch,
    "decode": decode,
    "one_soft_prompt": one_soft_prompt,
    "first_token": first_token,
    "switching": switching,
    "overhead": overhead,
    "many_soft_prompts": many_soft_prompts,
    "memory": memory,
    "importing": importing,
    "precision": precision,
    "training": training,
}
