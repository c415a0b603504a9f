"""The gate for pictures: what could run or be fetched does not pass."""

from __future__ import annotations

import pytest

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.reports import Figure
from langchain_softprompt.reports.svg import safe_svg
from tests.unit_tests.reports.reading import Markup

_SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("<script>alert(1)</script>", "holds <script>"),
        ("<style>*{}</style>", "holds <style>"),
        ("<foreignObject/>", "holds <foreignObject>"),
        ('<image href="a.png"/>', "holds <image>"),
        ('<a href="#x"/>', "holds <a>"),
        ('<animate attributeName="x"/>', "holds <animate>"),
        ('<h:script xmlns:h="http://www.w3.org/1999/xhtml">1</h:script>', "xhtml}script"),
        ('<g onclick="alert(1)"/>', "attribute 'onclick'"),
        ('<g ONLOAD="alert(1)"/>', "attribute 'ONLOAD'"),
        ('<use href="http://a/b#c"/>', "links to 'http://a/b#c'"),
        ('<use xlink:href="javascript:alert(1)"/>', "links to 'javascript"),
        ('<g style="fill: url(http://a/b)"/>', "attribute style"),
        ("<g style=\"fill: url( 'http://a/b')\"/>", "attribute style"),
        ('<g style="background: image-set(x)"/>', "attribute style"),
        ('<g style="background: \\75rl(x)"/>', "attribute style"),
        ('<g fill="URL(data:x)"/>', "attribute fill"),
        ('<g xml:base="http://a/"/>', "attribute"),
    ],
)
def test_what_could_run_or_be_fetched_is_refused(inside: str, why: str) -> None:
    with pytest.raises(InvalidSettingsError, match=r"this picture can't go into a page") as refusal:
        safe_svg(_SVG.format(inside))
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["", "not xml", "<html/>", "<svg/>", '<!DOCTYPE svg [<!ENTITY a "b">]>' + _SVG.format("&a;"), _SVG.format("&a;")]
)
def test_what_is_no_plain_svg_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettingsError, match="can't go into a page"):
        Figure(text, "caption")


def test_words_in_a_picture_stay_words() -> None:
    markup = Markup(safe_svg(_SVG.format("<title>&lt;script&gt;1&lt;/script&gt;</title><text>a &amp; b</text><!-- c -->")))
    assert markup.tags == ["svg", "title", "text"]
    assert markup.texts == ["<script>1</script>", "a & b"]


def test_parts_of_the_picture_may_be_used_in_it() -> None:
    style = "fill: url(#p); stroke: var(--x, #123)"
    inside = f'<defs><path id="p" d="M 0 0"/></defs><use xlink:href="#p" transform="translate(1 2)" style="{style}"/>'
    assert 'href="#p"' in safe_svg(_SVG.format(inside))
