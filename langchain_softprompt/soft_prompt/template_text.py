"""The text of a prompt template: plain ``{fields}`` and nothing that could look anything up."""

from __future__ import annotations

import re
import string

_MUSTACHE_FIELD = re.compile(r"\{\{\{\s*([^\W\d]\w*)\s*\}\}\}|\{\{&?\s*([^\W\d]\w*)\s*\}\}")


def plain_fields(template: str) -> list[str]:
    """Names of the fields of an f-string template, in order.

    Raises:
        ValueError: It is no f-string template of plain names. Attribute look-ups and format specifications have no place
            in a file from elsewhere.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        msg = f"is no f-string template: {error}. Write literal braces twice."
        raise ValueError(msg) from error
    fields = []
    for _, field, specification, conversion in parsed:
        if field is None:
            continue
        if not field.isidentifier() or specification or conversion:
            msg = f"{{{field}}} is not a plain field name. Write literal braces twice."
            raise ValueError(msg)
        fields.append(field)
    return fields


def from_mustache(template: str) -> str:
    """A mustache template of plain ``{{fields}}`` as the f-string template that says the same.

    Values go in as they are: mustache's HTML escapes have no place in a prompt.

    Raises:
        ValueError: It holds more than fields: a section, a partial, a dotted name, a comment.
    """
    literals, fields, end = [], [], 0
    for found in _MUSTACHE_FIELD.finditer(template):
        literals.append(template[end : found.start()])
        fields.append(found[1] or found[2])
        end = found.end()
    literals.append(template[end:])
    if any("{{" in literal or "}}" in literal for literal in literals):
        msg = "a mustache template of plain {{fields}}; sections, partials and dotted names are not read"
        raise ValueError(msg)
    escaped = [literal.replace("{", "{{").replace("}", "}}") for literal in literals]
    return escaped[0] + "".join(f"{{{field}}}{literal}" for field, literal in zip(fields, escaped[1:], strict=True))
