"""The gate for pictures: an SVG goes into a page as markup, so what it may hold is named here, and nothing else passes."""

from __future__ import annotations

import re
from typing import NoReturn
from xml.etree import ElementTree

from langchain_softprompt.errors import InvalidSettingsError

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_ELEMENTS = frozenset(
    {"svg", "g", "defs", "clipPath", "use", "title", "desc", "path", "line", "polyline", "polygon", "rect", "circle", "ellipse"}
    | {"text", "tspan", "linearGradient", "radialGradient", "stop"}
)
# What may stand before a bracket in an attribute: colours, transforms, the page's variables, parts of the same picture.
_CALLS = frozenset("url var rgb rgba hsl hsla calc matrix translate rotate scale skewx skewy".split())  # noqa: SIM905 - words
_CALL = re.compile(r"([\w-]*)\s*\(")
_FOREIGN = re.compile(r"url\s*\(\s*(?!['\"]?#)|\\", re.IGNORECASE)


def safe_svg(svg: str) -> str:
    """Check SVG text and return it as it may stand inside an HTML page.

    Args:
        svg: The text of one ``<svg>`` element; a leading XML declaration is dropped.

    Returns:
        The markup, without namespaces' prefixes, comments and processing instructions.

    Raises:
        InvalidSettingsError: It is not well-formed, declares a document type, or holds an element or attribute that
            runs something or fetches something.
    """
    if "<!DOCTYPE" in svg or "<!ENTITY" in svg:  # entities could expand without end
        _refuse("it declares a document type")
    try:
        root = ElementTree.fromstring(svg)  # noqa: S314 - without a document type there are no entities to expand
    except ElementTree.ParseError as error:
        _refuse(f"it is not well-formed ({error})")
    if root.tag != f"{SVG}svg":
        _refuse(f"its root is <{root.tag}>")
    for element in root.iter():
        _check(element)
    return markup(root)


def markup(root: ElementTree.Element) -> str:
    """The text of an SVG element as HTML reads it, without prefixes; `root` is changed on the way.

    Args:
        root: An ``<svg>`` element whose attributes are SVG's own or XLink's ``href``.
    """
    for element in root.iter():
        element.tag = str(element.tag).removeprefix(SVG)
        for foreign, plain in ((LINK, "href"), (_SPACE, "xml:space")):
            if foreign in element.attrib:
                element.set(plain, element.attrib.pop(foreign))
    root.set("xmlns", SVG.strip("{}"))
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _check(element: ElementTree.Element) -> None:
    name = str(element.tag).removeprefix(SVG)
    if name not in _ELEMENTS:
        _refuse(f"it holds <{name[:80]}>")
    for attribute, value in element.attrib.items():
        if attribute.lower().startswith("on") or ("{" in attribute and attribute not in {LINK, _SPACE}):
            _refuse(f"it holds the attribute {attribute[:80]!r}")
        if attribute in {"href", LINK} and not value.startswith("#"):
            _refuse(f"it links to {value[:80]!r}")
        if _FOREIGN.search(value) or not {call.lower() for call in _CALL.findall(value)} <= _CALLS:
            _refuse(f"its attribute {attribute} is {value[:80]!r}")


def _refuse(why: str) -> NoReturn:
    msg = f"svg: this picture can't go into a page: {why}. Draw it with this package's chart functions."
    raise InvalidSettingsError(msg)
