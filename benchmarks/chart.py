"""The results as a picture: one panel a scenario, one bar a contender."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from textwrap import fill

from benchmarks.results import Results, Scenario

_OURS, _OTHERS = "#2b6cb0", "#a0aec0"
_PANELS = ("mixed_batch", "decode", "first_token", "many_soft_prompts")


def draw(results: Results, file: Path) -> None:
    """Draw the scenarios that compare contenders, as SVG; the same results give the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    scenarios = [scenario for scenario in results.scenarios if scenario.samples and scenario.name in _PANELS]
    if not scenarios:
        return
    with mpl.rc_context({"svg.hashsalt": "benchmarks", "font.size": 9}):
        heights = [1 + len(scenario.samples) for scenario in scenarios]
        figure, panels = plt.subplots(
            len(scenarios), 1, figsize=(10, 0.46 * sum(heights)), gridspec_kw={"height_ratios": heights}, squeeze=False
        )
        for axes, scenario in zip(panels[:, 0], scenarios, strict=True):
            _panel(axes, scenario)
        figure.tight_layout()
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)


def _panel(axes: object, scenario: Scenario) -> None:
    names = list(scenario.samples)
    values = [median(samples) for samples in scenario.samples.values()]
    # In these scenarios a contender that is not a peer is this package, whatever it was asked for.
    peers = ("PEFT", "vLLM", "langchain-huggingface")
    bars = axes.barh([fill(name, 56) for name in names], values, color=[_OTHERS if name.startswith(peers) else _OURS for name in names])  # type: ignore[attr-defined]
    axes.bar_label(bars, fmt="{:.0f}", padding=3)  # type: ignore[attr-defined]
    axes.invert_yaxis()  # type: ignore[attr-defined]
    axes.margins(x=0.12)  # type: ignore[attr-defined]
    title = fill(f"{scenario.title} ({scenario.unit}, {scenario.better} is better)", 78)
    axes.set_title(title, loc="left", fontsize=9)  # type: ignore[attr-defined]
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)  # type: ignore[attr-defined]
