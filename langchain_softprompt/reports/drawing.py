"""What all charts share: paper, ink, colours, and how matplotlib's SVG becomes a small one that follows the page."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from langchain_softprompt.errors import MissingExtraError
from langchain_softprompt.reports.svg import LINK, SVG, markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), told apart with any kind of colour vision; orange and sky blue
# are darkened so that each is readable (3 to 1 or better) on white paper and on the dark page alike.
COLOURS = ("#2a7ab8", "#d55e00", "#0d9970", "#b5679a", "#b27d00", "#4693c4")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")

# matplotlib must be given real colours; these three stand for the page's and are replaced in the finished text.
INK, GRID, PAPER = "#0a0b0c", "#0d0e0f", "#fafbfc"
_PAGE_COLOURS = {INK: "var(--chart-ink, #7a808a)", GRID: "var(--chart-grid, #8f949c55)", PAPER: "var(--chart-paper, none)"}

_REFERENCE = re.compile(r"url\(#([^)]+)\)")
# All that XML 1.0 can't hold, and line breaks, which a label has no room for.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


def draw(paint: Callable[[Axes], None], *, width: float = 7.0, height: float = 3.4) -> str:
    """Paint one chart and return it as SVG text: the same call gives the same text.

    The background is transparent, text is text, and the colours of ink and grid are the page's CSS variables with a mid tone
    to fall back on, so that the picture is readable on light and dark paper, inside a page or alone.

    Args:
        paint: Draws onto the axes.
        width: In inches of 72 units.
        height: In inches.

    Returns:
        One ``<svg>`` element.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure  # not pyplot, which keeps every figure and looks for a screen
    except ImportError as error:
        msg = "Pictures need matplotlib, which is not installed. Run: pip install 'langchain-softprompt[plots]'"
        raise MissingExtraError(msg) from error
    with _drawing, matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Letters that matplotlib has no font for are measured wrong, up to leaving the axes no room, and shown right: text stays
        # text. It warns in the name of whoever called it, which is here.
        warnings.filterwarnings("ignore", category=UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        canvas: Any = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        paint(axes)
        written = io.StringIO()
        canvas.print_svg(written, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _slim(written.getvalue())


def label(text: object, length: int = 48) -> str:
    """A text as it may stand in a chart: one line, nothing that SVG can't hold, not too long."""
    clean = _UNPRINTABLE.sub(" ", str(text))
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def _slim(svg: str) -> str:
    """Drop matplotlib's document type, metadata, style sheet and unused names; make the rest the page's."""
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", svg))  # noqa: S314 - matplotlib's own, without entities
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{SVG}metadata", f"{SVG}style"}:
                parent.remove(child)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    # What the style sheet said about "*", which inside a page would be everything on it.
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    _rename(root, hashlib.sha256(svg.encode()).hexdigest()[:8])
    text = markup(root)
    for stand_in, colour in _PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    return text


def _rename(root: ElementTree.Element, name: str) -> None:
    """Keep the ids something refers to, each with this picture's own name before it: a page holds several pictures."""
    used = {reference for element in root.iter() for value in element.attrib.values() for reference in _REFERENCE.findall(value)}
    used |= {element.attrib[LINK][1:] for element in root.iter() if LINK in element.attrib}
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"c{name}-{identity}")
        for attribute, value in element.attrib.items():
            if attribute == LINK:
                element.set(attribute, f"#c{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(attribute, _REFERENCE.sub(rf"url(#c{name}-\1)", value))


_drawing = threading.Lock()  # matplotlib's settings are the whole process's
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "langchain-softprompt",
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "axes.unicode_minus": True,
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.0,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "savefig.facecolor": "none",
    "savefig.transparent": True,
}
