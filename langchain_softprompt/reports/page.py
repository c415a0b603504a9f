"""A page: title, summary, sections; one HTML file that stands alone."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.reports.parts import Section, paragraphs

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Page:
    """A report.

    The page loads nothing and runs nothing; it follows the reader's light or dark setting, fits a phone and prints.

    Attributes:
        title: Its heading, and the browser tab's title.
        summary: What a reader in a hurry should know; a blank line starts a new paragraph.
        sections: The rest, in order.
        footer: A line at the end: how and when this was made, if it is to be said.
    """

    title: str
    summary: str = ""
    sections: Sequence[Section] = ()
    footer: str = ""

    def to_html(self) -> str:
        """The whole page as HTML text; the same page gives the same text."""
        names = _anchors([section.title for section in self.sections])
        html = _template().render(
            title=self.title,
            summary=paragraphs(self.summary),
            sections=list(zip(names, self.sections, strict=True)),
            footer=self.footer,
        )
        # A lone surrogate (text cut in the middle of a character) can't be written as UTF-8.
        return html.encode("utf-8", "replace").decode("utf-8")

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, all at once: a reader finds the old file or the new one, never half of one.

        Args:
            path: The file; its folder is made when it is not there.

        Returns:
            The path written.

        Raises:
            InvalidSettingsError: The file can't be written.
        """
        target = Path(path)
        passing = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        html = self.to_html()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                passing.write_text(html, encoding="utf-8")
                passing.replace(target)
            finally:
                passing.unlink(missing_ok=True)
        except OSError as error:
            msg = f"report: can't write {target}: {error}. Choose another file."
            raise InvalidSettingsError(msg) from error
        return target


@cache
def _template() -> Template:
    # A page is rare, and jinja2 takes longer to import than the rest of this room.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.files("langchain_softprompt.reports").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text)


def _anchors(titles: Sequence[str]) -> list[str]:
    """A link target for each title, each another one."""
    anchors: list[str] = []
    for number, title in enumerate(titles, start=1):
        words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchors.append(words if words not in anchors else f"{words}-{number}")
    return anchors
