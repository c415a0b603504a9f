"""How much answers change in lower precision."""

from __future__ import annotations

from typing import Any

from benchmarks.bench import Bench
from benchmarks.results import Scenario

FULL = "float32"
_PRECISIONS: dict[str, dict[str, Any]] = {
    FULL: {"dtype": "float32"},
    "bfloat16": {},
    "int8": {"quantization": "int8"},
}


def precision(bench: Bench) -> Scenario:
    """The three soft prompts that the package ships, made on the full weights, on held-out rows of their tasks."""
    answers: dict[str, dict[str, Any]] = {}
    for name, options in _PRECISIONS.items():
        label = f"ours, tasks in {name}"
        # The plain model: in that of the other scenarios no answer ever ends.
        answers[name] = bench.ours(label, model="embedded", **options).ask("task_answers", rows=bench.sizes.task_rows)
        bench.stop(label)
    lines = []
    for task, full in answers[FULL].items():
        for name, seen in answers.items():
            same = sum(one == other for one, other in zip(seen[task]["answers"], full["answers"], strict=True))
            rows = len(full["answers"])
            lines.append([task, name, f"{sum(seen[task]['right']) / rows:.1%}", f"{same / rows:.1%}"])
    return Scenario(
        name="precision",
        title="Answers in lower precision, with soft prompts made on the full weights",
        unit="",
        facts={
            "table": {
                "head": ["task", "weights", f"right, of {bench.sizes.task_rows} held-out rows", f"same answer as in {FULL}"],
                "rows": lines,
            }
        },
    )
