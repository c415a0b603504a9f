"""Pages: one file that needs nothing else, and in which any text is only text."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.reports import (
    Bars,
    Code,
    Details,
    Facts,
    Figure,
    Line,
    Page,
    Section,
    Table,
    Text,
    Verdict,
    bar_chart,
    figure_or_note,
    heat_map,
    histogram,
    line_chart,
    shown,
)
from tests.unit_tests.reports.reading import Markup

HOSTILE = """<script>alert("1")</script>'"></style></title><img src=x onerror=alert(2)>{{ 7*7 }}{% raw %}&lt;&amp;javascript:x"""


def full_page(text: str, *, words: str | None = None) -> Page:
    """Every kind of part, with one text in every field there is; `words` where a blank line would start a paragraph."""
    words = text if words is None else words
    svg = line_chart([Line(text, [0, 1], [1, 2])], x_label=text, y_label=text, marked=(1, 2, text))
    parts = [
        Text(words),
        Verdict("good", text),
        Facts({text: text}),
        Table([text, "number"], [[text, 1.5], [None, 3.0]], text, bars=["number"], highlighted=0),
        Figure(svg, text),
        Code(text),
        Details(text, [Text(words), Details(text, [Code(text)])]),
    ]
    return Page(text, words, [Section(text, text, parts), *(Section(f"{text} {number}") for number in range(4))], text)


def every_chart() -> list[str]:
    return [
        line_chart([Line("a", [1, 2, 3], [1, 10, 5]), Line("b", [1, 2, 3], [2, 3, 4])], x_label="x", y_label="y", log_y=True),
        bar_chart(["a", "b"], [Bars("one", [1, -2], [(0.5, 1.5), None]), Bars("two", [None, 1])], value_label="v"),
        heat_map(["a", "b"], ["c"], [[1.0], [None]], value_label="v"),
        histogram({"a": [1, 2, 2, 3], "b": [4]}, x_label="x", marked={"here": 2}),
    ]


def test_a_page_refers_to_nothing_outside_itself_and_runs_nothing() -> None:
    page = Page("t", "s", [*full_page("plain").sections, Section("Charts", "", [Figure(svg, "c") for svg in every_chart()])])
    markup = Markup(page.to_html())
    assert not {"script", "link", "img", "image", "iframe", "object", "embed", "base", "form", "video", "audio", "a:href"} & set(
        markup.tags
    )
    for tag, name, value in markup.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in {"src", "srcset", "action", "data", "poster", "background"}, (tag, name)
        if name.endswith("href"):
            assert value.startswith("#"), (tag, value)
        if "url(" in value:
            assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", value)), value
        if name not in {"xmlns", "content"}:
            assert "//" not in value, (tag, name, value)
    assert "url(" not in markup.style
    assert "@import" not in markup.style


def test_a_page_tells_the_browser_to_fetch_and_run_nothing() -> None:
    policy = next(value for tag, name, value in Markup(Page("t").to_html()).attributes if tag == "meta" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_every_link_leads_to_a_part_of_the_page_and_no_two_parts_share_a_name() -> None:
    charts = [Section(title, "", [Figure(svg, "c") for svg in every_chart()]) for title in ("One", "One", "!!", "Two", "")]
    markup = Markup(Page("t", "", charts).to_html())
    names = [value for _, name, value in markup.attributes if name == "id"]
    sections = [value for tag, name, value in markup.attributes if (tag, name) == ("section", "id")]
    assert len(set(sections)) == len(charts)
    targets = {value[1:] for _, name, value in markup.attributes if name == "href"}
    targets |= {target for _, _, value in markup.attributes for target in re.findall(r"url\(#([^)]+)\)", value)}
    assert targets <= set(names)


@pytest.mark.parametrize("field", ["page", "chart"])
def test_hostile_text_in_any_field_is_inert(field: str) -> None:
    harmless, hostile = (Markup(full_page(text).to_html()) for text in ("harmless", HOSTILE))
    assert hostile.shape == harmless.shape
    if field == "page":
        assert HOSTILE in hostile.texts
        assert "49" not in " ".join(hostile.texts)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029"), min_size=1).filter(str.strip))
def test_any_text_leaves_the_page_as_it_is_and_comes_out_as_it_went_in(text: str) -> None:
    def page(said: str) -> Markup:
        table = Table([said], [[said]], said)
        return Markup(
            Page(said, said, [Section(said, said, [Text(said), Verdict("bad", said), table, Code(said), Details(said, [])])]).to_html()
        )

    found = page(text)
    assert found.shape == page("harmless").shape
    assert found.texts.count(text) == page("harmless").texts.count("harmless")


def test_the_same_page_is_the_same_text_in_another_process() -> None:
    program = "from tests.unit_tests.reports.test_page import *; import sys; sys.stdout.write(full_page('x').to_html())"
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=None)
    assert again.stdout == full_page("x").to_html()


def test_a_page_is_written_whole_with_the_folder_it_lies_in(tmp_path: Path) -> None:
    page = full_page("é \U0001f600")
    file = page.write(tmp_path / "deep" / "page.html")
    assert file.read_text("utf-8") == page.to_html()
    assert [entry.name for entry in file.parent.iterdir()] == ["page.html"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o400


def test_a_page_that_can_not_be_drawn_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("old")
    with pytest.raises(UndefinedError, match="kind"):
        Page("t", "", [Section("s", "", ["no part"])]).write(file)  # type: ignore[list-item]
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("page.html", "old")]


def test_a_file_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidSettingsError, match=r"report: can't write .*folder: .* Choose another file"):
        Page("t").write(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_half_a_character_is_replaced_rather_than_refused(tmp_path: Path) -> None:
    assert "cut ?" in Page("t", "cut \ud83d").write(tmp_path / "p.html").read_text("utf-8")


def test_a_table_aligns_numbers_and_draws_bars_as_shares_of_the_largest() -> None:
    table = Table(["name", "score", "mixed"], [["a", 2.0, 1], ["b", -4.0, "x"], ["c", None, None]], bars=["score"])
    assert table.aligned_as_numbers == [False, True, False]
    assert [row[1] for row in table.shown_rows] == [("2.000", 50.0), ("-4.000", 100.0), ("–", None)]  # noqa: RUF001 - the dash
    assert Table(["a"], [[True]]).aligned_as_numbers == [False]
    assert Table(["a"], [["1"]], numeric=["a"]).aligned_as_numbers == [True]


def test_a_table_of_unfit_rows_columns_or_marks_is_refused() -> None:
    with pytest.raises(InvalidSettingsError, match="row 1 has 2 cells under 1 columns"):
        Table(["a"], [[1], [1, 2]])
    with pytest.raises(InvalidSettingsError, match="no column 'b'; there are 'a'"):
        Table(["a"], [[1]], bars=["b"])
    with pytest.raises(InvalidSettingsError, match="no row 1 among 1"):
        Table(["a"], [[1]], highlighted=1)


def test_a_verdict_of_another_level_is_refused() -> None:
    with pytest.raises(InvalidSettingsError, match="'good', 'caution' or 'bad', not 'fine'"):
        Verdict("fine", "x")  # type: ignore[arg-type]


def test_paragraphs_are_parted_by_blank_lines() -> None:
    assert Text("a\nb\n\n \n c\n").paragraphs == ["a\nb", " c"]
    assert Text(" \n").paragraphs == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),  # noqa: RUF001 - the dash
        (True, "yes"),
        (2026, "2026"),
        (1234567, "1,234,567"),
        (0.0, "0"),
        (0.12345, "0.123"),
        (3.14159, "3.142"),
        (42.123, "42.12"),
        (123456.7, "123,457"),
        (1.21e-5, "1.2e-05"),
        (float("nan"), "–"),  # noqa: RUF001 - the dash
        (float("inf"), "∞"),
        ("as it is", "as it is"),
    ],
)
def test_values_are_shown_as_a_reader_wants_them(value: object, text: str) -> None:
    assert shown(value) == text  # type: ignore[arg-type]


def test_without_matplotlib_a_note_stands_where_the_figure_would_and_the_page_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    part = figure_or_note(lambda: heat_map(["a"], ["b"], [[1.0]], value_label="v"), "What it would show.")
    html = Page("t", "", [Section("s", "", [part])]).write(tmp_path / "p.html").read_text("utf-8")
    assert "What it would show." in html
    assert "pip install &#39;langchain-softprompt[plots]&#39;" in html
