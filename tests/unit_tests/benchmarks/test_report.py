"""Results as JSON and as a page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chart import draw
from benchmarks.report import PAGE, RESULTS, cell, render
from benchmarks.results import Results, Row, Scenario, Target


def _results(*scenarios: Scenario, quick: bool = False) -> Results:
    machine = {
        "cpu": "A Processor",
        "cores_seen": 2,
        "threads_used": 1,
        "vector_units": ["avx2"],
        "memory_gb": 16.0,
        "system": "Linux",
        "python": "3.11.7",
        "load_before": 0.1,
        "load_after": 1.0,
        "versions": {"torch": "2.13.0"},
    }
    contenders = {
        "ours": {"present": True, "versions": {"torch": "2.13.0"}, "options": {}},
        "vllm": {"present": False, "reason": "not asked for"},
    }
    return Results("2026-01-01", quick, 5, machine, contenders, list(scenarios))


def _scenario(measured: float | None) -> Scenario:
    row = Row("a batch against PEFT", Target(">=", 16.0, "x"), measured)
    return Scenario("mixed_batch", "A batch", "tokens/s", samples={"ours": [30.0, 10.0, 20.0], "PEFT": [1.0, 2.0, 3.0]}, rows=[row])


def test_the_committed_page_is_what_the_committed_results_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(Results.load(RESULTS))


def test_a_part_measured_later_stands_in_place_of_the_old_one_and_says_where_and_when() -> None:
    whole = _results(_scenario(1.0), Scenario("other", "Other", "s", samples={"ours": [1.0]}))
    part = replace(_results(_scenario(20.0), Scenario("new", "New", "s")), made="2026-02-02", rounds=2)
    merged = whole.with_scenarios_of(part)
    assert [(scenario.name, bool(scenario.elsewhere)) for scenario in merged.scenarios] == [
        ("mixed_batch", True),
        ("other", False),
        ("new", True),
    ]
    assert "Measured on 2026-02-02, A Processor, avx2, 2 rounds." in render(Results.from_json(merged.to_json()))
    assert merged.scenarios[0].rows[0].measured == 20.0


def test_the_committed_results_and_page_name_no_folder_of_a_machine() -> None:
    for file in (RESULTS, PAGE):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w./])/(home|root|tmp|work|usr|opt|Users)/", text.replace("/path/to/", "")), file


@given(measured=st.one_of(st.none(), st.floats(0.001, 1e6)), op=st.sampled_from([">=", "<=", "<"]), bound=st.floats(0.001, 1e6))
def test_results_survive_the_way_through_json(measured: float | None, op: str, bound: float) -> None:
    """To five digits, which is more than they are worth; the verdict goes by the unrounded figure."""
    row = Row("what", Target(op, bound, "ms"), measured, "a note")
    back = Results.from_json(_results(Scenario("one", "One", "ms", rows=[row])).to_json()).scenarios[0].rows[0]
    assert back.measured == (None if measured is None else pytest.approx(measured, rel=1e-4))
    assert back.target.value == pytest.approx(bound, rel=1e-4)
    assert (back.what, back.note, back.target.op, back.target.unit) == ("what", "a note", op, "ms")


@pytest.mark.parametrize(
    ("op", "value", "measured", "met"),
    [(">=", 16, 16.0, True), (">=", 16, 15.9, False), ("<", 2, 2.0, False), ("<=", 0, 0.0, True), ("<", 2, None, None)],
)
def test_a_target_is_met_by_its_own_operator_only(op: str, value: float, measured: float | None, met: bool | None) -> None:
    assert Row("what", Target(op, value, "x"), measured).met is met


def test_a_missed_target_says_so_with_its_profile() -> None:
    scenario = _scenario(3.5)
    scenario.profile = {"shares": {"reading": 0.25}, "operators": [{"name": "aten::mm", "share": 0.5, "calls": 7}]}
    page = render(_results(scenario))
    assert "| a batch against PEFT | >= 16x | 3.50x | **missed** |" in page
    assert "| reading | 25% |" in page
    assert "| `aten::mm` | 50% | 7 |" in page


def test_a_met_target_and_one_that_nobody_measured_are_told_apart() -> None:
    assert "| >= 16x | 17.2x | met |" in render(_results(_scenario(17.2)))
    assert "| >= 16x | not measured | not measured |" in render(_results(_scenario(None)))


def test_medians_absent_peers_failures_and_the_machine_are_on_the_page() -> None:
    page = render(_results(_scenario(17.0), Scenario("decode", "Decode", "", error="RuntimeError: out of luck")))
    assert "| ours | 20 tokens/s | 10 tokens/s | 30 tokens/s | 3 |" in page
    assert "| vllm | absent: not asked for |" in page
    assert "failed: RuntimeError: out of luck" in page
    assert "A Processor" in page
    assert "avx2" in page


def test_a_trial_run_says_that_its_figures_mean_nothing() -> None:
    assert "trial run" in render(_results(quick=True))
    assert "trial run" not in render(_results())


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(3.456, "x", "3.46x"), (0.0312, "x", "0.031x"), (12.34, "ms", "12.3 ms"), (1234.5, "ms", "1234 ms"), (0.0, "files", "0 files")],
)
def test_figures_have_as_many_places_as_tell_something(value: float, unit: str, text: str) -> None:
    assert cell(value, unit) == text


def test_the_same_results_draw_the_same_picture(tmp_path: Path) -> None:
    results = _results(_scenario(3.0))
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    draw(results, first)
    draw(results, second)
    assert first.read_bytes() == second.read_bytes()
    assert b"<svg" in first.read_bytes()
