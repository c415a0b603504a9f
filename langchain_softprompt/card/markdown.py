"""Text out of a file, or from anywhere, as it may stand in a card: it is read as it is, and does nothing else.

A card is shown by renderers that we don't choose. So nothing here relies on one of them: HTML is written as entities, signs that
Markdown reads are escaped, and what a renderer may make a link of by itself (addresses, domains, mentions) is shown as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_JOINERS = {"\u200c", "\u200d"}  # not printable to Python, but words of many scripts are misspelt without them
# An underscore within a word is one to every renderer.
_SIGNS = re.compile(r"[`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
_BETWEEN = {"|": r"\|", "<": "&lt;"}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# An address, a mention, TeX, a domain.
_DOES_SOMETHING = re.compile(r"://|www\.|[@\\$]|\w\.[^\W\d_]{2,}|mailto:|javascript:", re.IGNORECASE)
_OPENS_A_BLOCK = re.compile(r"[#+=-]|\d{1,9}(?=[.)]$)")
_PATH = re.compile(r"""(?<![\w./:~-])(?:file:/*|~[\w.-]*[\\/]|[A-Za-z]:[\\/]|[\\/]{1,2})(?:[^\s\\/'"]+[\\/])*([^\s\\/'"]+)""")
_WHOLE_PATH = re.compile(r"file:|~[\w.-]*[\\/]|[A-Za-z]:[\\/]|[\\/]")


class Markdown(str):
    """Text that is Markdown already. Any other text is escaped before it gets into a card."""

    __slots__ = ()


def one_line(text: object, most: int = 2000) -> str:
    """A text as one line without anything invisible in it; what is longer is cut.

    Args:
        text: The text.
        most: Its most characters.
    """
    line = " ".join(str(text)[: 10 * most].split())
    line = line if len(line) <= most else line[: most - 1].rstrip() + "…"
    return "".join(map(_visible, line))


def words(text: object, most: int = 2000, *, within: bool = False) -> Markdown:
    """A text as a reader sees it: no mark-up, no HTML, no link.

    Args:
        text: The text; what is Markdown already stays as it is.
        most: Its most characters.
        within: Whether something stands before it on its line, so that it can open no list or heading.
    """
    if isinstance(text, Markdown):
        return text
    pieces = [code(piece) if _DOES_SOMETHING.search(piece) else _escaped(piece) for piece in one_line(text, most).split(" ")]
    opening = None if within else _OPENS_A_BLOCK.match(pieces[0])
    if opening:
        at = opening.end() if opening[0].isdigit() else 0
        pieces[0] = f"{pieces[0][:at]}\\{pieces[0][at:]}"
    return Markdown(" ".join(pieces))


def code(text: object, most: int = 2000) -> Markdown:
    """A text as code within a line."""
    # In a table a bar ends the cell even within code, and "<" need not be trusted to any renderer: both stand between two pieces.
    return Markdown("".join(_BETWEEN.get(piece) or _code(piece) for piece in re.split(r"([|<])", one_line(text, most))))


def fenced(text: str, language: str = "text", most: int = 6000) -> Markdown:
    """A text as a block of code.

    Args:
        text: The text, its lines kept.
        language: What it is written in.
        most: Its most characters.
    """
    cut = text if len(text) <= most else text[: most - 1].rstrip() + "…"
    lines = ["".join(letter if letter == "\t" else _visible(letter) for letter in line) for line in re.split(r"\r\n|\r|\n", cut)]
    shown = "\n".join(lines)
    fence = "`" * max(3, _longest_run(shown) + 1)
    return Markdown(f"{fence}{language}\n{shown}\n{fence}")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, numbers: bool = False) -> Markdown:
    """A table, its cells escaped.

    Args:
        head: The column heads.
        rows: As many cells for each row.
        numbers: Whether all columns but the first hold numbers.
    """
    rule = ["---", *(["---:" if numbers else "---"] * (len(head) - 1))]
    lines = [[words(cell, within=True) or " " for cell in row] for row in (head, *rows)]
    lines.insert(1, [Markdown(cell) for cell in rule])
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def without_folders(text: str, *, is_source: bool = False) -> str:
    """A text that may name files on the machine it was written on, with nothing left of them but the files' own names.

    Args:
        text: The text.
        is_source: Whether it may be a path as a whole, spaces and all.
    """
    if is_source and _WHOLE_PATH.match(text):
        return re.split(r"[\\/]", text.rstrip("\\/"))[-1].removeprefix("file:")
    return _PATH.sub(r"\1", text)


def _visible(letter: str) -> str:
    return letter if letter.isprintable() or letter in _JOINERS else letter.encode("unicode_escape").decode("ascii")


def _escaped(piece: str) -> str:
    signs = _SIGNS.sub(lambda sign: f"\\{sign[0]}", piece)
    return re.sub(r"[&<>]", lambda sign: _ENTITIES[sign[0]], signs)


def _code(piece: str) -> str:
    if not piece.strip():
        return ""
    fence = "`" * (_longest_run(piece) + 1)
    gap = " " if piece.startswith("`") or piece.endswith("`") else ""
    return f"{fence}{gap}{piece}{gap}{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)


__all__ = ["Markdown", "code", "fenced", "one_line", "table", "without_folders", "words"]
