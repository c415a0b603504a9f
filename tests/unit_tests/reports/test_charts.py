"""Charts: what is drawn is what was given, and any label is only a label."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.errors import InvalidSettingsError, MissingExtraError
from langchain_softprompt.reports import Bars, Line, bar_chart, heat_map, histogram, line_chart
from langchain_softprompt.reports.drawing import COLOURS
from langchain_softprompt.reports.svg import safe_svg
from tests.unit_tests.reports.reading import paths, texts


def test_a_line_goes_through_its_points() -> None:
    xs, ys = [0.0, 1.0, 3.0, 4.0], [2.0, 1.0, 0.5, 3.0]
    svg = line_chart([Line("loss", xs, ys)], x_label="step", y_label="nats")
    (corners,) = [corners for corners in paths(svg, stroke=COLOURS[0], fill="none") if len(corners) == 4]
    # Paper's coordinates grow downwards; both axes are straight.
    for axis, values, sign in ((0, xs, 1), (1, ys, -1)):
        drawn = [corner[axis] for corner in corners]
        scale = (drawn[2] - drawn[0]) / (values[2] - values[0])
        assert sign * scale > 0
        assert drawn == pytest.approx([drawn[0] + scale * (value - values[0]) for value in values], abs=1e-3)


def test_a_log_axis_sets_equal_factors_equally_far_apart_and_leaves_out_what_has_no_logarithm() -> None:
    svg = line_chart([Line("e", [1, 2, 3, 4], [10, 100, 1000, 0])], x_label="x", y_label="y", log_y=True)
    heights = [y for corners in paths(svg, stroke=COLOURS[0], fill="none") if len(corners) == 3 for _, y in corners]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=1e-3)
    assert {"10", "100", "1000"} <= set(texts(svg))


def test_a_value_that_is_not_finite_leaves_a_gap_in_the_line() -> None:
    svg = line_chart([Line("e", [0, 1, 2, 3, 4], [1, 2, math.nan, 2, 1])], x_label="x", y_label="y")
    assert [len(corners) for corners in paths(svg, stroke=COLOURS[0], fill="none") if len(corners) > 1] == [4]


@pytest.mark.parametrize("horizontal", [False, True])
def test_bars_are_as_long_as_their_values(horizontal: bool) -> None:
    svg = bar_chart(["a", "b", "c"], [Bars("v", [1.0, -2.0, None])], value_label="v", horizontal=horizontal)
    lengths = []
    for corners in paths(svg, fill=COLOURS[0]):
        ends = [corner[0 if horizontal else 1] for corner in corners]
        lengths.append(max(ends) - min(ends))
    drawn = [length for length in lengths if length > 0]
    assert len(drawn) == 2
    assert drawn[1] / drawn[0] == pytest.approx(2, rel=1e-3)
    assert {"1.000", "-2.000"} <= set(texts(svg))


def test_an_interval_is_drawn_from_its_low_to_its_high_end_even_where_the_value_lies_outside() -> None:
    svg = bar_chart(["a"], [Bars("v", [4.0], [(1.0, 3.0)])], value_label="v", horizontal=False)
    (bar,) = paths(svg, fill=COLOURS[0])
    scale = (max(y for _, y in bar) - min(y for _, y in bar)) / 4
    ends = [[y for _, y in corners] for corners in paths(svg, stroke="var(--chart-ink, #7a808a)", fill="none") if len(corners) == 2]
    upright = [max(ys) - min(ys) for ys in ends if ys[0] != ys[1]]
    assert upright == [pytest.approx(2 * scale, rel=1e-3)]


def test_a_heat_map_has_a_cell_a_value_and_none_where_there_is_none() -> None:
    svg = heat_map(["r", "s"], ["a", "b", "c"], [[0.1, 0.2, 0.3], [0.4, None, math.nan]], value_label="share")
    assert {"0.100", "0.200", "0.300", "0.400", "r", "s", "a", "b", "c", "share"} <= set(texts(svg))
    lighter = heat_map(["r"], ["a", "b"], [[1.0, 1.0]], value_label="share")
    assert "nan" not in svg + lighter


def test_a_histogram_says_how_many_values_each_sample_has_and_marks_single_ones() -> None:
    svg = histogram({"one": [1.0, 2.0, math.nan], "two": [3.0]}, x_label="norm", marked={"mean": 2.0})
    assert {"one (2)", "two (1)", "mean: 2.000", "norm"} <= set(texts(svg))


def test_histogram_steps_are_as_high_as_the_shares_in_their_bins() -> None:
    svg = histogram({"a": [0.0, 0.0, 0.0, 1.0]}, x_label="x", bins=2)
    (outline,) = [corners for corners in paths(svg, stroke=COLOURS[0], fill="none") if len(corners) > 4]
    floor = max(y for _, y in outline)
    heights = sorted({round(floor - y, 3) for _, y in outline} - {0.0})
    assert heights[1] / heights[0] == pytest.approx(3, rel=1e-3)


def _charts(text: str) -> list[str]:
    return [
        line_chart([Line(text, [0, 1], [1, 2]), Line("b", [0, 1], [2, 1])], x_label=text, y_label=text, marked=(1, 2, text)),
        bar_chart([text, "b"], [Bars(text, [1, 2]), Bars("b", [2, 1])], value_label=text, group_label=text),
        heat_map([text], [text], [[1.0]], value_label=text, row_label=text, column_label=text),
        histogram({text: [1.0, 2.0], "b": [1.0]}, x_label=text, marked={text: 1.5}),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "\"&'<",
        "$\\frac{1}$",
        "a\nb\x00c\x1b",
        "\ud83d",
        "中文",
        "x" * 500,
        "_hidden",
        " ",
        "a\u0329\u0329\u0347\u0359\u035d",
    ],
)
def test_any_label_is_drawn_as_plain_text(text: str) -> None:
    for svg in _charts(text):
        assert safe_svg(svg)
        assert len(texts(svg)) > 2


@settings(max_examples=8, deadline=None)
@given(st.text())
def test_whatever_a_label_holds_the_picture_can_be_read(text: str) -> None:
    for svg in _charts(text)[:2]:
        assert texts(safe_svg(svg))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_any_numbers_are_drawn_or_refused_in_one_sentence(values: list[float]) -> None:
    names = [str(number) for number in range(len(values))]
    for draw in (
        lambda: line_chart([Line("a", range(len(values)), values)], x_label="x", y_label="y", log_y=True),
        lambda: bar_chart(names, [Bars("a", values)], value_label="v"),
        lambda: heat_map(["r"], names, [values], value_label="v"),
        lambda: histogram({"a": values}, x_label="x"),
    ):
        try:
            assert "nan" not in draw().lower()
        except InvalidSettingsError as error:
            assert "nothing to draw" in str(error)  # noqa: PT017 - either is right


def test_the_same_chart_is_the_same_text_in_another_process_and_on_other_threads() -> None:
    program = "from tests.unit_tests.reports.test_charts import _charts; import sys; sys.stdout.write(''.join(_charts('x')))"
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append("".join(_charts("x")))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {again.stdout, *made} == {"".join(_charts("x"))}


def test_drawing_opens_no_screen_and_leaves_matplotlib_s_settings_alone() -> None:
    program = (
        "import matplotlib, sys\n"
        "def settings(): return [matplotlib.rcParams[name] for name in matplotlib.rcParams if name != 'backend']\n"
        "before = settings()\n"
        "from tests.unit_tests.reports.test_charts import _charts; _charts('x')\n"
        "assert 'matplotlib.pyplot' not in sys.modules and settings() == before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_the_room_imports_neither_matplotlib_nor_torch_nor_jinja2() -> None:
    program = "import langchain_softprompt.reports, sys; assert not {'matplotlib', 'numpy', 'torch', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_matplotlib_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langchain-softprompt\[plots\]'"):
        histogram({"a": [1.0]}, x_label="x")


def test_charts_of_nothing_or_of_unfit_lists_are_refused() -> None:
    with pytest.raises(InvalidSettingsError, match="lines: there is nothing to draw"):
        line_chart([], x_label="x", y_label="y")
    with pytest.raises(InvalidSettingsError, match="'a' has 2 xs and 1 ys"):
        line_chart([Line("a", [1, 2], [1])], x_label="x", y_label="y")
    with pytest.raises(InvalidSettingsError, match="bars: there is nothing to draw"):
        bar_chart([], [], value_label="v")
    with pytest.raises(InvalidSettingsError, match="'v' has 1 values and 2 intervals for 2 groups"):
        bar_chart(["a", "b"], [Bars("v", [1])], value_label="v")
    with pytest.raises(InvalidSettingsError, match="expected 1 rows of 2 values, found \\[1\\]"):
        heat_map(["a"], ["b", "c"], [[1.0]], value_label="v")
    with pytest.raises(InvalidSettingsError, match="samples: there is nothing to draw"):
        histogram({"a": [math.inf]}, x_label="x")
    with pytest.raises(InvalidSettingsError, match="bins: expected at least 1, found 0"):
        histogram({"a": [1.0]}, x_label="x", bins=0)
