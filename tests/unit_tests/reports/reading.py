"""A page and a picture as a reader of them sees them: what is in the markup, by parsers that are not ours."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"


class Markup(HTMLParser):
    """Everything in a page, flat."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.style = ""
        self._inside: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["style"]:
            self.style += data
        elif data.strip():
            self.texts.append(data)

    @property
    def shape(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Tags and names of attributes, without what is in them."""
        return self.tags, [(tag, name) for tag, name, _ in self.attributes]


def texts(svg: str) -> list[str]:
    """The words in a picture."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{_SVG}text")]  # noqa: S314 - our own


def paths(svg: str, *, stroke: str | None = None, fill: str | None = None) -> list[list[tuple[float, float]]]:
    """The corners of each path drawn with a colour."""
    found = []
    for element in ElementTree.fromstring(svg).iter(f"{_SVG}path"):  # noqa: S314 - our own
        style = element.get("style", "")
        if (stroke is None or f"stroke: {stroke}" in style) and (fill is None or f"fill: {fill}" in style):
            numbers = [float(word) for word in element.get("d", "").split() if word not in "MLQCZz"]
            found.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return found
