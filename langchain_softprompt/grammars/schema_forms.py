"""A JSON schema as the grammar wants it. What fits the result also fits the schema it was made from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from langchain_softprompt.grammars.schema_walk import children, walk

_OBJECT_WORDS = ("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties")
# Beside these, what an object may hold is not said in one place.
_ELSEWHERE = (
    "$dynamicRef", "$ref", "additionalProperties", "allOf", "anyOf", "dependentSchemas", "if", "not", "oneOf", "patternProperties",
    "unevaluatedProperties",
)  # fmt: skip


def without_unknown_formats(schema: dict[str, Any], known: Callable[[str], bool]) -> dict[str, Any]:
    """Leave out each ``format`` that the grammar does not know: to JSON Schema such a format is a remark, not a rule."""
    schema = copy.deepcopy(schema)
    for _, part in walk(schema):
        if isinstance(part.get("format"), str) and not known(part["format"]):
            del part["format"]
    return schema


def without_idle_words(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out ``uniqueItems: false``, which asks for nothing and which the grammar would not take."""
    schema = copy.deepcopy(schema)
    for _, part in walk(schema):
        if part.get("uniqueItems") is False:
            del part["uniqueItems"]
    return schema


def with_ascii_references(schema: dict[str, Any]) -> dict[str, Any]:
    """Write each ``$ref`` as the URI that it has to be: Pydantic leaves letters beyond ASCII in the names of classes."""
    schema = copy.deepcopy(schema)
    for _, part in walk(schema):
        if isinstance(part.get("$ref"), str):
            part["$ref"] = quote(part["$ref"], safe="#/:?&=%~$@!*'()+,;")
    return schema


def with_closed_objects(schema: dict[str, Any]) -> dict[str, Any]:
    """Let objects hold the properties that are declared, and no others, where the schema does not speak of others.

    An object that is described in several places at once (``allOf``, a ``$ref`` with more beside it) stays as it is, as each
    place would forbid what the others ask for; so do the branches of a ``oneOf`` without a discriminator, of which one alone
    must fit.
    """
    schema = copy.deepcopy(schema)
    shared: set[str] = set()
    while True:  # a shared schema may refer to further ones
        found = {target for _, _, part_shared, part in _with_sharing(schema, shared) for target in _targets(part, shared=part_shared)}
        if found <= shared:
            break
        shared |= found
    if any(not target.startswith("#") or (target != "#" and not target.startswith("#/")) for target in shared):
        return schema  # by name and not by place: nobody knows which one
    for _, _, part_shared, part in list(_with_sharing(schema, shared)):
        if not part_shared and _can_close(part):
            part["additionalProperties"] = False
    return schema


def _with_sharing(
    schema: dict[str, Any], shared: set[str], place: str = "#", *, inherited: bool = False
) -> Iterator[tuple[str, str, bool, dict[str, Any]]]:
    """Every schema inside, and whether others describe the same object."""
    here = inherited or place in shared
    yield place, "", here, schema
    several = _sources(schema) > 1
    for keyword, below, part in children(schema):
        together = keyword in ("allOf", "anyOf", "oneOf") and several
        ambiguous = keyword == "oneOf" and "discriminator" not in schema
        apart = keyword in ("$defs", "definitions")
        yield from _with_sharing(part, shared, place + below, inherited=(here and not apart) or together or ambiguous)


def _sources(schema: dict[str, Any]) -> int:
    """In how many places a schema describes one and the same value."""
    own = any(word in schema for word in _OBJECT_WORDS)
    return own + len(schema.get("allOf", ())) + sum(word in schema for word in ("anyOf", "oneOf", "$ref"))


def _targets(schema: dict[str, Any], *, shared: bool) -> Iterator[str]:
    """What a schema refers to that is then described in several places; `_with_sharing` comes to branches by itself."""
    if isinstance(schema.get("$ref"), str) and (shared or _sources(schema) > 1):
        yield unquote(schema["$ref"])


def _can_close(schema: dict[str, Any]) -> bool:
    declared = schema.get("properties")
    if not isinstance(declared, dict) or any(word in schema for word in _ELSEWHERE):
        return False
    least = schema.get("minProperties", 0)
    return set(schema.get("required", ())) <= set(declared) and least <= len(declared)


__all__ = ["with_ascii_references", "with_closed_objects", "without_idle_words", "without_unknown_formats"]
