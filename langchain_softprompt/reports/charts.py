"""Charts as SVG text: numbers in, a picture out. Titles and explanations belong in the figure's caption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.reports.drawing import COLOURS, DASHES, INK, MARKERS, draw, label
from langchain_softprompt.reports.painting import (
    MOST_TICKS,
    add_legend,
    mark_point,
    name_axes,
    name_ticks,
    paint_bars,
    plain_powers,
    write_cells,
)
from langchain_softprompt.reports.parts import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_VALUES = 24  # more numbers than this beside bars, or _MOST_CELLS in a map, are in each other's way
_MOST_CELLS = 100
_LONG_LABEL = 10


@dataclass(frozen=True)
class Line:
    """A named series of points.

    Attributes:
        name: As the legend says it.
        xs: Where the points stand.
        ys: How high; a value that is not finite leaves a gap.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class Bars:
    """A named series of bars, one a group.

    Attributes:
        name: As the legend says it.
        values: One a group; ``None`` where there is none.
        intervals: The confidence interval of each value, ``(low, high)``; ``None`` where there is none.
    """

    name: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None] | None = None


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    marked: tuple[float, float, str] | None = None,
) -> str:
    """Draw several named series over one axis.

    Args:
        lines: The series.
        x_label: What the horizontal axis measures, with its unit.
        y_label: What the vertical axis measures, with its unit.
        log_x: A logarithmic horizontal axis; points at or below zero are left out.
        log_y: A logarithmic vertical axis; values at or below zero leave a gap.
        marked: A point that stands out, ``(x, y, what it is)``.

    Returns:
        SVG text.

    Raises:
        InvalidSettingsError: No finite point at all, or a series with unlike numbers of xs and ys.
        MissingExtraError: matplotlib is not installed.
    """
    clean = [_clean(line, log_x=log_x, log_y=log_y) for line in lines]
    if not any(math.isfinite(y) for _, _, ys in clean for y in ys):
        _refuse_nothing("lines")

    def paint(axes: Axes) -> None:
        for number, (name, xs, ys) in enumerate(clean):
            axes.plot(
                xs,
                ys,
                color=COLOURS[number % len(COLOURS)],
                linestyle=DASHES[number % len(DASHES)],
                linewidth=1.8,
                marker=MARKERS[number % len(MARKERS)] if len(xs) <= MOST_TICKS else None,
                markersize=4,
                label=name,
            )
        if log_x:
            axes.set_xscale("log")
            plain_powers(axes.xaxis)
        if log_y:
            axes.set_yscale("log")
            plain_powers(axes.yaxis)
        axes.grid(visible=True)
        if marked is not None:
            mark_point(axes, *marked)
        name_axes(axes, x_label, y_label)
        add_legend(axes, len(clean))

    return draw(paint)


def bar_chart(
    labels: Sequence[str], bars: Sequence[Bars], *, value_label: str, group_label: str = "", horizontal: bool | None = None
) -> str:
    """Draw groups of bars, with confidence intervals where there are some.

    Args:
        labels: The groups' names.
        bars: One series or several; each has a value a group.
        value_label: What the bars measure, with its unit.
        group_label: What the groups are; may be empty.
        horizontal: Bars that lie; ``None`` lays them down when the names are long.

    Returns:
        SVG text.

    Raises:
        InvalidSettingsError: No finite value at all, or a series of another length than `labels`.
        MissingExtraError: matplotlib is not installed.
    """
    _check_bars(labels, bars)
    lying = horizontal if horizontal is not None else any(len(name) > _LONG_LABEL for name in labels) and len(labels) <= MOST_TICKS
    thickness = 0.8 / len(bars)

    def paint(axes: Axes) -> None:
        for number, series in enumerate(bars):
            places = [group - 0.4 + thickness * (number + 0.5) for group in range(len(labels))]
            paint_bars(axes, series, places, thickness * 0.92, number, lying=lying, numbered=len(labels) * len(bars) <= _MOST_VALUES)
        names = [label(name, 32) for name in labels]
        if lying:
            axes.set_yticks(range(len(labels)), names)
            axes.invert_yaxis()
            axes.grid(visible=True, axis="x")
            axes.axvline(0, color=INK, linewidth=0.8)
            name_axes(axes, value_label, group_label)
        else:
            name_ticks(axes, names)
            axes.grid(visible=True, axis="y")
            axes.axhline(0, color=INK, linewidth=0.8)
            name_axes(axes, group_label, value_label)
        add_legend(axes, len(bars))

    height = 3.4 if not lying else 0.9 + 0.30 * len(labels) * max(1.0, 0.75 * len(bars))
    return draw(paint, height=max(1.6, height))


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    value_label: str,
    row_label: str = "",
    column_label: str = "",
    diverging: bool = False,
) -> str:
    """Draw a table of numbers as colours; a table of few cells has its numbers written in.

    Args:
        rows: The rows' names, from the top.
        columns: The columns' names.
        values: One list a row; ``None`` or a value that is not finite stays empty.
        value_label: What the colours measure, with its unit.
        row_label: What the rows are.
        column_label: What the columns are.
        diverging: Two colours that part at zero, for values of either sign.

    Returns:
        SVG text.

    Raises:
        InvalidSettingsError: No finite value at all, or lists that don't fit the names.
        MissingExtraError: matplotlib is not installed.
    """
    table = [[math.nan if value is None or not math.isfinite(value) else float(value) for value in row] for row in values]
    if len(table) != len(rows) or any(len(row) != len(columns) for row in table):
        msg = f"values: expected {len(rows)} rows of {len(columns)} values, found {[len(row) for row in table]}."
        raise InvalidSettingsError(msg)
    finite = [value for row in table for value in row if math.isfinite(value)]
    if not finite:
        _refuse_nothing("values")
    furthest = max(map(abs, finite)) or 1.0
    low, high = (-furthest, furthest) if diverging else (min(finite), max(finite))
    high = high if high > low else low + (abs(low) or 1.0)

    def paint(axes: Axes) -> None:
        import matplotlib as mpl

        # 24 steps: a finer scale would be drawn as a bitmap.
        colours = mpl.colormaps["PuOr" if diverging else "cividis"].resampled(24)
        mesh = axes.pcolormesh(table, cmap=colours, vmin=low, vmax=high, edgecolors="face", linewidth=0.4)
        scale: Any = axes.figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.05)
        scale.set_label(label(value_label))
        scale.outline.set_visible(False)
        name_ticks(axes, [label(name, 24) for name in columns], centre=0.5)
        name_ticks(axes, [label(name, 32) for name in rows], centre=0.5, vertical=True)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if len(rows) * len(columns) <= _MOST_CELLS:
            write_cells(axes, table, mesh)
        name_axes(axes, column_label, row_label)

    return draw(paint, height=min(6.5, max(1.8, 1.1 + 0.22 * len(rows))))


def histogram(
    samples: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    bins: int = 30,
    marked: Mapping[str, float] | None = None,
) -> str:
    """Draw how values spread: for each named sample the share of its values in each of the same bins.

    Args:
        samples: Name to values; values that are not finite are left out.
        x_label: What the values measure, with their unit.
        bins: How many bins the whole range is cut into.
        marked: Single values that stand out, drawn as upright lines: name to value.

    Returns:
        SVG text.

    Raises:
        InvalidSettingsError: No finite value at all, or no bins.
        MissingExtraError: matplotlib is not installed.
    """
    clean = {name: [float(value) for value in values if math.isfinite(value)] for name, values in samples.items()}
    everything = [value for values in clean.values() for value in values]
    if not everything:
        _refuse_nothing("samples")
    if bins < 1:
        msg = f"bins: expected at least 1, found {bins}."
        raise InvalidSettingsError(msg)
    reach = [*everything, *(value for value in (marked or {}).values() if math.isfinite(value))]
    low, high = min(reach), max(reach)
    if low == high:
        low, high = low - 0.5, high + 0.5

    def paint(axes: Axes) -> None:
        edges = [low + (high - low) * number / bins for number in range(bins + 1)]
        for number, (name, values) in enumerate(clean.items()):
            colour = COLOURS[number % len(COLOURS)]
            weights = [1 / len(values)] * len(values)
            axes.hist(
                values, bins=edges, weights=weights, color=colour, alpha=0.35, histtype="stepfilled", label=f"{label(name)} ({len(values)})"
            )
            axes.hist(values, bins=edges, weights=weights, color=colour, histtype="step", linewidth=1.4)
        for number, (name, value) in enumerate((marked or {}).items()):
            if math.isfinite(value):
                dash = DASHES[(number + 1) % len(DASHES)]
                axes.axvline(value, color=INK, linewidth=1.4, linestyle=dash, label=f"{label(name)}: {shown(float(value))}")
        axes.grid(visible=True, axis="y")
        name_axes(axes, x_label, "share of values")
        add_legend(axes, len(clean) + len(marked or {}))

    return draw(paint, height=3.0)


def _clean(line: Line, *, log_x: bool, log_y: bool) -> tuple[str, list[float], list[float]]:
    if len(line.xs) != len(line.ys):
        msg = f"lines: {line.name!r} has {len(line.xs)} xs and {len(line.ys)} ys."
        raise InvalidSettingsError(msg)
    pairs = [(float(x), float(y)) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(x) and (x > 0 or not log_x)]
    heights = [y if math.isfinite(y) and (y > 0 or not log_y) else math.nan for _, y in pairs]
    return label(line.name), [x for x, _ in pairs], heights


def _check_bars(labels: Sequence[str], bars: Sequence[Bars]) -> None:
    for series in bars:
        intervals = len(labels) if series.intervals is None else len(series.intervals)
        if len(series.values) != len(labels) or intervals != len(labels):
            msg = f"bars: {series.name!r} has {len(series.values)} values and {intervals} intervals for {len(labels)} groups."
            raise InvalidSettingsError(msg)
    if not any(value is not None and math.isfinite(value) for series in bars for value in series.values):
        _refuse_nothing("bars")


def _refuse_nothing(what: str) -> NoReturn:
    msg = f"{what}: there is nothing to draw, not one finite value. Leave the figure out."
    raise InvalidSettingsError(msg)
