"""A finished answer against its JSON schema."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

from langchain_softprompt.errors import InvalidGrammarError
from langchain_softprompt.grammars.library import library


def check_schema(schema: dict[str, Any]) -> None:
    """Refuse what is no JSON schema: one of the draft its ``$schema`` names, else of 2020-12.

    Raises:
        InvalidGrammarError: Names the place and what is wrong with it.
    """
    jsonschema = library("jsonschema")
    try:
        _validator_class(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        place = "".join(f"/{part}" for part in error.absolute_path)
        msg = f"The JSON schema is not well-formed at #{place}: {error.message[:300]}. Mend the schema, or name its draft in $schema."
        raise InvalidGrammarError(msg) from None


def why_invalid(text: str, schema_text: str) -> str | None:
    """Why an answer does not fit its schema; ``None`` where it does."""
    try:
        value = json.loads(text, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return f"it can't be read as JSON ({type(error).__name__}: {str(error)[:200]})"
    try:
        best = library("jsonschema.exceptions").best_match(_validator(schema_text).iter_errors(value))
    except RecursionError:
        return None  # nested deeper than jsonschema goes, or a schema that refers to itself in a circle: the grammar stands alone
    return None if best is None else f"at {best.json_path}: {best.message[:300]}"


def _finite(number: str) -> float:
    """Python reads a number that is too large as infinity, which JSON can't say."""
    value = float(number)
    if not math.isfinite(value):
        msg = f"the number {number} is too large"
        raise ValueError(msg)
    return value


@lru_cache(maxsize=128)
def _validator(schema_text: str) -> Any:
    schema = json.loads(schema_text)
    jsonschema = library("jsonschema")
    return jsonschema.validators.extend(_validator_class(schema), {"multipleOf": _multiple_of})(schema)


def _validator_class(schema: dict[str, Any]) -> Any:
    jsonschema = library("jsonschema")
    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)


def _multiple_of(validator: Any, step: float, value: Any, _schema: Any) -> Any:
    """As written: with binary fractions 0.7 would be no multiple of 0.1."""
    if validator.is_type(value, "number") and math.isfinite(value) and Fraction(repr(value)) % Fraction(repr(step)) != 0:
        yield library("jsonschema").ValidationError(f"{value!r} is not a multiple of {step!r}")


__all__ = ["check_schema", "why_invalid"]
