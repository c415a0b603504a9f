"""What charts are painted with: bars, numbers, marks, ticks, names and legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_softprompt.reports.drawing import COLOURS, GRID, INK, label
from langchain_softprompt.reports.parts import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from langchain_softprompt.reports.charts import Bars

MOST_TICKS = 32
_LEGEND_LETTERS, _LETTERS_A_HANDLE = 88, 8


def paint_bars(axes: Axes, series: Bars, places: list[float], thickness: float, number: int, *, lying: bool, numbered: bool) -> None:
    """One series of bars with the lines of their intervals, and the numbers at their ends where there is room."""
    colour = COLOURS[number % len(COLOURS)]
    values = [math.nan if value is None or not math.isfinite(value) else float(value) for value in series.values]
    paint = axes.barh if lying else axes.bar
    paint(places, values, thickness, color=colour, label=label(series.name))
    for place, value, interval in zip(places, values, series.intervals or [None] * len(values), strict=True):
        if math.isnan(value):
            continue
        ends = [value] if interval is None else [value, *filter(math.isfinite, interval)]
        if interval is not None and all(map(math.isfinite, interval)):
            along, across = list(interval), [place, place]
            axes.plot(*((along, across) if lying else (across, along)), color=INK, linewidth=1.3, solid_capstyle="butt")
        if numbered:
            _write_value(axes, value, min(ends) if value < 0 else max(ends), place, lying=lying)


def _write_value(axes: Axes, value: float, end: float, place: float, *, lying: bool) -> None:
    below = value < 0
    across: dict[str, Any] = (
        {"ha": "right" if below else "left", "va": "center"} if lying else {"ha": "center", "va": "top" if below else "bottom"}
    )
    step = -4 if below else 4
    axes.annotate(
        shown(value),
        (end, place) if lying else (place, end),
        xytext=(step, 0) if lying else (0, step),
        textcoords="offset points",
        fontsize=8.5,
        **across,
    )
    # Room for the number: an annotation doesn't widen the axes.
    axes.margins(x=0.12 if lying else None, y=None if lying else 0.12)


def write_cells(axes: Axes, table: list[list[float]], mesh: Any) -> None:
    """The numbers of a heat map into its cells, light on dark and dark on light."""
    for down, row in enumerate(table):
        for across, value in enumerate(row):
            if math.isfinite(value):
                red, green, blue, _ = mesh.cmap(mesh.norm(value))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
                axes.text(
                    across + 0.5,
                    down + 0.5,
                    shown(int(value) if value.is_integer() else value),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="#ffffff" if dark else "#1a1a1a",
                )


def mark_point(axes: Axes, x: float, y: float, what: str) -> None:
    """A ring around a point, and what it is beside it, on the side with more room."""
    axes.plot([x], [y], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.6, linestyle="none")
    left, right = axes.get_xlim()
    on_the_right = x > (math.sqrt(left * right) if axes.get_xscale() == "log" and left > 0 else (left + right) / 2)
    axes.annotate(
        label(what),
        (x, y),
        xytext=(-9 if on_the_right else 9, 9),
        textcoords="offset points",
        ha="right" if on_the_right else "left",
        fontsize=9.5,
    )


def plain_powers(axis: Axis) -> None:
    """Tick labels as numbers: matplotlib's own powers of ten are mathematical markup, which is switched off."""
    from matplotlib.ticker import LogFormatter

    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))


def name_ticks(axes: Axes, names: Sequence[str], *, centre: float = 0.0, vertical: bool = False) -> None:
    """Names along an axis; where there are too many, every second, fifth, tenth ... one."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, len(names)) if len(names) <= step * MOST_TICKS)
    chosen = range(0, len(names), step)
    places = [number + centre for number in chosen]
    texts = [names[number] for number in chosen]
    if vertical:
        axes.set_yticks(places, texts, fontsize=9)
        return
    slanted = max(map(len, texts)) * len(texts) > 90
    axes.set_xticks(places, texts, rotation=45 if slanted else 0, ha="right" if slanted else "center", fontsize=9, rotation_mode="anchor")


def name_axes(axes: Axes, x_label: str, y_label: str) -> None:
    """What the axes measure."""
    axes.set_xlabel(label(x_label, 90))
    axes.set_ylabel(label(y_label))
    axes.tick_params(color=GRID)


def add_legend(axes: Axes, entries: int) -> None:
    """The names of series above the axes, in as many columns as fit; one alone needs none."""
    if entries > 1:
        handles, names = axes.get_legend_handles_labels()
        columns = max(1, min(4, entries, _LEGEND_LETTERS // (max(map(len, names)) + _LETTERS_A_HANDLE)))
        axes.figure.legend(handles, names, loc="outside upper left", ncols=columns, borderpad=0, handlelength=2.2)
