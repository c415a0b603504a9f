"""The schemas inside a JSON schema, each with its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Keywords whose value is a schema, a list of schemas or (``items``, before 2020-12) either; and a mapping of names to schemas.
_ONE_OR_MANY = (
    "additionalItems", "additionalProperties", "allOf", "anyOf", "contains", "else", "if", "items", "not", "oneOf", "prefixItems",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")


def children(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The schemas that stand directly in another: keyword, place below it as a JSON pointer, schema.

    Schemas that are true or false have nothing inside and are left out.
    """
    for keyword, value in schema.items():
        if keyword in _NAMED and isinstance(value, dict):
            parts = [(f"/{_escaped(keyword)}/{_escaped(name)}", part) for name, part in value.items()]
        elif keyword in _ONE_OR_MANY and isinstance(value, list):
            parts = [(f"/{keyword}/{index}", part) for index, part in enumerate(value)]
        elif keyword in _ONE_OR_MANY:
            parts = [(f"/{keyword}", value)]
        else:
            continue
        yield from ((keyword, place, part) for place, part in parts if isinstance(part, dict))


def walk(schema: dict[str, Any], place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all inside it, each with its place as a JSON pointer."""
    yield place, schema
    for _, below, part in children(schema):
        yield from walk(part, place + below)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


__all__ = ["children", "walk"]
