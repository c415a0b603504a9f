"""The room of pages: a report is one HTML file that needs nothing else, neither a script nor a network.

Whoever measures something says it with the parts below; how it looks is decided here, once.

Files:
    parts.py      what a page is made of: Section, and in it Text, Verdict, Facts, Table, Figure, Details, Code
    page.py       Page: to_html(), and write() all at once or not at all
    page.html.j2  the one template, with the one style sheet
    svg.py        the gate for pictures: well-formed SVG that runs nothing and fetches nothing
    charts.py     line_chart, bar_chart, heat_map, histogram: SVG text
    painting.py   what charts are painted with: bars, marks, ticks, names, legends
    drawing.py    what all charts share: paper, ink, colours, and matplotlib (the extra 'plots') when it is first needed
"""

from __future__ import annotations

from langchain_softprompt.reports.charts import Bars, Line, bar_chart, heat_map, histogram, line_chart
from langchain_softprompt.reports.page import Page
from langchain_softprompt.reports.parts import (
    Cell,
    Code,
    Details,
    Facts,
    Figure,
    Level,
    Part,
    Section,
    Table,
    Text,
    Verdict,
    figure_or_note,
    shown,
)

__all__ = [
    "Bars",
    "Cell",
    "Code",
    "Details",
    "Facts",
    "Figure",
    "Level",
    "Line",
    "Page",
    "Part",
    "Section",
    "Table",
    "Text",
    "Verdict",
    "bar_chart",
    "figure_or_note",
    "heat_map",
    "histogram",
    "line_chart",
    "shown",
]
