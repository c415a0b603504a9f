"""docs/quality.md, written from the results."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.process import ROOT
from benchmarks.quality.tasks import TASKS

PAGE = ROOT / "docs" / "quality.md"
_WAYS = {
    "hard prompt": "hard prompt, zero-shot",
    "few-shot": "hard prompt, 5 examples",
    "peft prompt tuning": "PEFT's prompt tuning",
    "peft prefix tuning": "PEFT's prefix tuning",
    "ours": "**soft prompt from the hard prompt**",
}
_NAMES = {
    "accuracy": "accuracy, one of the labels",
    "macro_f1": "macro-F1",
    "exact_match": "exact match, free answer",
    "chrf": "chrF",
    "json_exact_match": "exact JSON",
    "slot_f1": "slot F1",
    "valid_json": "valid JSON",
    "intent": "right intent",
}


def write_page(results: dict[str, Any]) -> None:
    """Write the page anew."""
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: dict[str, Any]) -> str:
    """The page's text."""
    parts = [_HEAD]
    for task in TASKS.values():
        cells = [cell for cell in results["cells"] if cell["task"] == task.name]
        if not cells:
            continue
        wanted = ", ".join(f"{_NAMES[name]} {value:g}" for name, value in task.targets.items())
        parts.append(f"## {task.name}\n\nAim: {wanted}.\n")
        named = " | ".join(_NAMES[name] for name in task.metrics)
        parts.append(f"| way | seeds | {named} | steps | minutes | tokens read a row |")
        parts.append("| --- | --- |" + " ---: |" * (len(task.metrics) + 3))
        parts += [_line(name, task.metrics, [cell for cell in cells if cell["way"] == name]) for name in _WAYS]
        parts.append("")
    parts.append(_foot(results))
    return "\n".join(part for part in parts if part is not None) + "\n"


def _line(way: str, metrics: tuple[str, ...], cells: list[dict[str, Any]]) -> str | None:
    if not cells:
        return None
    shown = [_WAYS[way], str(len(cells)), *(_value([cell["scores"][name] for cell in cells]) for name in metrics)]
    steps = cells[0].get("steps_done")
    minutes = statistics.mean(cell.get("seconds", 0.0) for cell in cells) / 60
    shown += [str(steps or ""), f"{minutes:.0f} ({cells[0]['threads']} threads)" if steps else "", f"{cells[0]['read_tokens']:.0f}"]
    return "| " + " | ".join(shown) + " |"


def _value(found: list[list[float]]) -> str:
    """One seed: its value and 95 % interval. More: mean, lowest and highest."""
    values = [value for value, _, _ in found]
    if len(values) == 1:
        value, low, high = found[0]
        return f"{value:.3f} ({low:.3f} to {high:.3f})"
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


_HEAD = """# How good are they?

Four public data sets, SmolLM2-135M-Instruct, soft prompts of 64 virtual tokens, trained on a CPU. Test rows were looked at once, at the
end; steps and settings were chosen on validation rows. Every way answers the same rows through the same engine: labels are decoded as one
of the labels there are (for hard prompts too, which helps them most), texts freely. With one seed the range is a 95 % bootstrap interval
over rows; with more it is the lowest and the highest seed.

Made by one command, which goes on where it was stopped (the data lies in `benchmarks/data`):

<!-- skip: next "trains for hours" -->
```bash
make quality
```

"PEFT's prompt tuning" and "PEFT's prefix tuning" start as PEFT itself creates them (rows of the vocabulary; random keys and values). They
are trained on the same rows for the same steps, with the learning rate found by trying, by this package's loop: its gradients are PEFT's,
which a test shows, at a fraction of the time.
"""


def _foot(results: dict[str, Any]) -> str:
    machine = results["machine"]
    return (
        f"Measured in float32 on {machine['cpu']}, {machine['cores_seen']} cores; the raw numbers are in `benchmarks/results/quality.json`."
    )


__all__ = ["page", "write_page"]
