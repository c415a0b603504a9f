"""What a page is made of. Every text is plain text: the page escapes it, whatever is in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from langchain_softprompt.errors import InvalidSettingsError, MissingExtraError
from langchain_softprompt.reports.svg import safe_svg

Cell: TypeAlias = str | int | float | bool | None
Level: TypeAlias = Literal["good", "caution", "bad"]

_ABSENT = "–"  # noqa: RUF001 - a dash, not a minus


@dataclass(frozen=True)
class Text:
    """One or several paragraphs; a blank line starts a new one.

    Attributes:
        text: The words.
    """

    text: str
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs, without the blank lines between them."""
        return paragraphs(self.text)


@dataclass(frozen=True)
class Verdict:
    """A finding in plain words, with how good or bad it is.

    Attributes:
        level: ``"good"``, ``"caution"`` or ``"bad"``: told by a word and a sign as well as by colour.
        text: The finding.

    Raises:
        InvalidSettingsError: Another level.
    """

    level: Level
    text: str
    kind: ClassVar[str] = "verdict"

    def __post_init__(self) -> None:
        if self.level not in {"good", "caution", "bad"}:
            msg = f"level: a verdict is 'good', 'caution' or 'bad', not {self.level!r}."
            raise InvalidSettingsError(msg)


@dataclass(frozen=True)
class Facts:
    """A few key facts, each a name and a value, shown large.

    Attributes:
        facts: Name to value, in order.
    """

    facts: Mapping[str, Cell]
    kind: ClassVar[str] = "facts"

    @property
    def items(self) -> list[tuple[str, str]]:
        """Names and values as they are shown."""
        return [(name, shown(value)) for name, value in self.facts.items()]


@dataclass(frozen=True)
class Table:
    """Rows under named columns.

    A column whose values are all numbers is aligned on the right, unless `numeric` says otherwise.

    Attributes:
        columns: The columns' names.
        rows: Each row has one cell a column; ``None`` is shown as a dash.
        caption: What the table tells; may be empty.
        numeric: Names of the columns that are aligned as numbers; ``None`` finds out from the rows.
        highlighted: Number of the row that stands out, from 0.
        bars: Names of the columns whose numbers are also drawn as a bar behind the number, as a share of the largest one.

    Raises:
        InvalidSettingsError: A row of another length, an unknown column, or a row number out of range.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    numeric: Sequence[str] | None = None
    highlighted: int | None = None
    bars: Sequence[str] = ()
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                msg = f"rows: row {number} has {len(row)} cells under {len(self.columns)} columns."
                raise InvalidSettingsError(msg)
        for name in (*self.bars, *(self.numeric or ())):
            if name not in self.columns:
                msg = f"columns: there is no column {name!r}; there are {', '.join(map(repr, self.columns))}."
                raise InvalidSettingsError(msg)
        if self.highlighted is not None and not 0 <= self.highlighted < len(self.rows):
            msg = f"highlighted: there is no row {self.highlighted} among {len(self.rows)}."
            raise InvalidSettingsError(msg)

    @property
    def aligned_as_numbers(self) -> list[bool]:
        """For each column, whether it is aligned on the right."""
        if self.numeric is not None:
            return [name in self.numeric for name in self.columns]
        columns = [[row[column] for row in self.rows if row[column] is not None] for column in range(len(self.columns))]
        return [bool(cells) and all(_is_number(cell) for cell in cells) for cells in columns]

    @property
    def shown_rows(self) -> list[list[tuple[str, float | None]]]:
        """For each cell its text, and the length of its bar in percent or ``None``."""
        largest = {}
        for column, name in enumerate(self.columns):
            if name in self.bars:
                sizes = [_size(row[column]) for row in self.rows]
                largest[column] = max((size for size in sizes if size is not None), default=0.0)
        return [
            [(shown(cell), _share(_size(cell), largest[column]) if column in largest else None) for column, cell in enumerate(row)]
            for row in self.rows
        ]


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes:
        svg: SVG text, such as the chart functions return.
        caption: What it shows and how to read it; also what a screen reader says.

    Raises:
        InvalidSettingsError: The text is no SVG, or holds something that runs or is fetched from elsewhere.
    """

    svg: str
    caption: str
    markup: str = field(init=False, repr=False, compare=False)
    kind: ClassVar[str] = "figure"

    def __post_init__(self) -> None:
        object.__setattr__(self, "markup", safe_svg(self.svg))


@dataclass(frozen=True)
class Code:
    """Text shown letter by letter: a prompt, an answer, a command.

    Attributes:
        text: The text; line breaks and spaces are kept.
    """

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Details:
    """Parts folded away behind one line, opened by a click; printed open.

    Attributes:
        summary: The line.
        parts: What is behind it.
    """

    summary: str
    parts: Sequence[Part]
    kind: ClassVar[str] = "details"


Part: TypeAlias = Text | Verdict | Facts | Table | Figure | Code | Details


@dataclass(frozen=True)
class Section:
    """A titled stretch of a page.

    Attributes:
        title: Its heading.
        note: One plain sentence on how to read it, or empty.
        parts: What it shows.
    """

    title: str
    note: str = ""
    parts: Sequence[Part] = ()


def figure_or_note(draw: Callable[[], str], caption: str) -> Figure | Text:
    """A figure, or a note in its place where the library that draws is not installed.

    Args:
        draw: Makes the SVG text, e.g. ``lambda: line_chart(...)``.
        caption: The figure's caption.

    Returns:
        The figure; without matplotlib a text that names the command that installs it.
    """
    try:
        return Figure(draw(), caption)
    except MissingExtraError as error:
        return Text(f"{caption}\n\n(No picture here: {error})")


def paragraphs(text: str) -> list[str]:
    """Text cut at its blank lines."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return ["\n".join(block) for block in blocks if block]


def shown(value: Cell) -> str:
    """A value as a reader wants it: four significant digits, thousands apart, a dash for nothing.

    Whole numbers up to 9999 stay as they are: many are years, ports and row numbers.
    """
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return _shown_float(value)
    return str(value)


def _shown_float(value: float) -> str:
    if math.isnan(value):
        return _ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"  # noqa: RUF001 - the minus sign is meant
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size < 0.0005:
        return f"{value:.1e}"
    return f"{value:.{3 - math.floor(math.log10(size)) if size >= 1 else 3}f}"


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _size(cell: Cell) -> float | None:
    return abs(float(cell)) if isinstance(cell, int | float) and math.isfinite(cell) else None


def _share(size: float | None, largest: float) -> float | None:
    return None if size is None or not largest else round(100 * size / largest, 2)
