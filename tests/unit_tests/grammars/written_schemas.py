"""JSON schemas of the kind that JSONSchemaBench collects, written by a seeded random writer."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_WORDS = (
    "name",
    "id",
    "größe",
    "名前",
    "a b",
    'quo"te',
    "back\\slash",
    "nested/path",
    "tilde~",
    "naïve",
    "😀",
    "$price",
    "x-y",
    "",
    "items",
)
_PATTERNS = (
    "^[A-Z]{2}-[0-9]{3}$",
    "^(red|green)$",
    "^\\d{4}$",
    "[ab]",
    "^[^\\s]{1,5}$",
    "^a|b$",
    "^\\w{2,4}$",
    "^[äöü]{1,3}$",
    "^/[a-z]*$",
)
_FORMATS = ("date", "time", "date-time", "duration", "uuid", "email", "ipv4", "hostname", "int64", "password")


class Writer:
    """Writes schemas that ask for little text, so that even a random model comes to an end."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._defs: dict[str, Schema] = {}

    def schema(self) -> Schema:
        """One schema, an object more often than not."""
        self._defs = {}
        root = self._object(3) if self._random.random() < 0.8 else self._any(3)
        if self._defs:
            root = {"$defs": self._defs, **root}
        if self._random.random() < 0.3:
            root = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Written", "description": "By a writer.", **root}
        return root

    def _any(self, depth: int) -> Schema:
        leaves = (self._string, self._integer, self._number, self._boolean, self._null, self._enum, self._const)
        if depth <= 0:
            return self._one(leaves)()
        nested: tuple[Callable[[int], Schema], ...] = (
            self._object, self._object, self._array, self._tuple, self._any_of, self._nullable, self._ref, self._all_of, self._one_of,
            self._map,
        )  # fmt: skip
        return self._one(leaves)() if self._random.random() < 0.5 else self._one(nested)(depth - 1)

    def _object(self, depth: int) -> Schema:
        names = self._random.sample(_WORDS, self._random.randint(1, 4))
        schema: Schema = {"type": "object", "properties": {name: self._any(depth - 1) for name in names}}
        required = [name for name in names if self._random.random() < 0.7]
        if required or self._random.random() < 0.5:
            schema["required"] = self._random.sample(required, len(required))
        if self._random.random() < 0.4:
            schema["additionalProperties"] = False
        if self._random.random() < 0.3:
            schema |= {"description": "An object.", "examples": [{}], "x-note": 1}
        return schema

    def _map(self, _depth: int) -> Schema:
        return {
            "type": "object",
            "additionalProperties": {"type": "boolean"},
            "maxProperties": 2,
            "patternProperties": {"^[a-c]$": {"type": "integer", "minimum": 0, "maximum": 9}},
        } if self._random.random() < 0.3 else {"type": "object", "properties": {"k": {"type": "boolean"}}, "required": ["k"]}  # fmt: skip

    def _array(self, depth: int) -> Schema:
        least = self._random.randint(0, 2)
        return {"type": "array", "items": self._any(depth - 1), "minItems": least, "maxItems": least + self._random.randint(0, 2)}

    def _tuple(self, depth: int) -> Schema:
        parts = [self._any(depth - 1) for _ in range(self._random.randint(1, 3))]
        return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}

    def _any_of(self, depth: int) -> Schema:
        return {"anyOf": [self._any(depth - 1) for _ in range(self._random.randint(2, 3))]}

    def _one_of(self, depth: int) -> Schema:
        kinds = self._random.sample(("circle", "square", "dot"), 2)
        branches = [{"kind": {"const": kind}, "value": self._any(depth - 1)} for kind in kinds]
        return {
            "oneOf": [{"type": "object", "properties": branch, "required": ["kind"]} for branch in branches],
            **({"discriminator": {"propertyName": "kind"}} if self._random.random() < 0.5 else {}),
        }  # fmt: skip

    def _all_of(self, depth: int) -> Schema:
        first, second = self._random.sample(_WORDS, 2)
        return {
            "allOf": [
                {"type": "object", "properties": {first: self._any(depth - 1)}, "required": [first]},
                {"properties": {second: self._integer()}, "required": [second]},
            ],
            "maxProperties": 2,
        } if self._random.random() < 0.3 else {"allOf": [self._ref(depth)], "description": "As Pydantic 1 writes it."}  # fmt: skip

    def _nullable(self, depth: int) -> Schema:
        return self._one(
            (
                lambda: {"anyOf": [self._any(depth - 1), {"type": "null"}], "default": None},
                lambda: {"type": ["integer", "null"], "minimum": -5, "maximum": 5},
                lambda: {"type": ["boolean", "null"]},
            )
        )()

    def _ref(self, depth: int) -> Schema:
        name = self._one(("Part", "Teil/eins", "Größe"))
        if name not in self._defs:
            self._defs[name] = {}
            self._defs[name] = self._object(depth - 1)
        return {"$ref": "#/$defs/" + name.replace("~", "~0").replace("/", "~1")}

    def _string(self) -> Schema:
        least = self._random.randint(0, 3)
        return self._one(
            (
                lambda: {"type": "string", "minLength": least, "maxLength": least + self._random.randint(0, 4)},
                lambda: {"type": "string", "maxLength": 5},
                lambda: {"type": "string", "pattern": self._one(_PATTERNS), "maxLength": 10},
                lambda: {"type": "string", "pattern": self._one(_PATTERNS[:3])},
                lambda: {"type": "string", "format": self._one(_FORMATS), **({"maxLength": 40} if self._random.random() < 0.1 else {})},
            )
        )()

    def _integer(self) -> Schema:
        least = self._random.randint(-50, 50)
        return self._one(
            (
                lambda: {"type": "integer", "minimum": least, "maximum": least + self._random.randint(0, 500)},
                lambda: {"type": "integer", "exclusiveMinimum": least, "exclusiveMaximum": least + 7},
                lambda: {"type": "integer", "minimum": 0, "maximum": 1000, "multipleOf": self._one((2, 5, 7))},
            )
        )()

    def _number(self) -> Schema:
        least = round(self._random.uniform(-3, 3), 2)
        return self._one(
            (
                lambda: {"type": "number", "minimum": least, "maximum": round(least + 2, 2)},
                lambda: {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                lambda: {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.1},
                lambda: {"type": "number"},
            )
        )()

    def _boolean(self) -> Schema:
        return {"type": "boolean"}

    def _null(self) -> Schema:
        return {"type": "null"}

    def _enum(self) -> Schema:
        values = self._random.sample(("red", "grün", 'q"', 3, 2.5, True, None, ["a", 1], {"k": "v"}, ""), self._random.randint(1, 4))
        return {"enum": values}

    def _const(self) -> Schema:
        return {"const": self._one(("fixed", "ß", 7, -1.5, False, None, [1, [2]], {"a": {"b": []}}))}

    def _one(self, of: Any) -> Any:
        return self._random.choice(of)


def written_schemas(count: int, seed: int) -> list[Schema]:
    """So many schemas; the same ones for the same seed."""
    writer = Writer(seed)
    return [writer.schema() for _ in range(count)]
