"""What `with_structured_output` takes as a schema: what the answer is held to, and how it is read."""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args, get_origin

import pydantic.v1
from langchain_core.output_parsers import BaseOutputParser
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import is_typeddict, override

from langchain_softprompt.chat_models.parsing import ChoiceParser, JsonParser, ModelParser, TextParser
from langchain_softprompt.chat_models.typed_dicts import typed_dict_schema
from langchain_softprompt.errors import InvalidGrammarError


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """One schema, in the several forms that are asked of it.

    Attributes:
        response_format: What the call is told.
        parser: What makes the user's value of the answer.
        json_schema: The same for traces.
    """

    response_format: dict[str, Any]
    parser: BaseOutputParser[Any]
    json_schema: Any


def read_schema(schema: Any, *, strict: bool | None = None) -> AnswerSchema:
    """Tell the kinds of schemas apart.

    Args:
        schema: A Pydantic class (2 or 1), a ``TypedDict`` class, a JSON schema or an OpenAI function or tool as a dictionary,
            an ``Enum`` class, a ``Literal``, a compiled regular expression, or ``None`` for any JSON object.
        strict: False lets objects hold more than they declare, where the schema allows it.

    Raises:
        InvalidGrammarError: It is none of these.
    """
    if schema is None:
        return AnswerSchema({"type": "json_object"}, JsonParser(response_format={"type": "json_object"}), {"type": "object"})
    if isinstance(schema, re.Pattern):
        return _pattern(schema)
    if get_origin(schema) is Literal:
        return _choices("answer", {_written(value): value for value in get_args(schema)}, len(get_args(schema)))
    if isinstance(schema, type) and issubclass(schema, enum.Enum):
        return _choices(schema.__name__, {_written(member.value): member for member in schema}, len(schema))
    return _json(schema, strict)


def _json(schema: Any, strict: bool | None) -> AnswerSchema:  # noqa: FBT001
    is_class = isinstance(schema, type)
    if is_class and issubclass(schema, pydantic.BaseModel):
        json_schema = schema.model_json_schema(schema_generator=_SchemaOfClass)
    elif is_class and issubclass(schema, pydantic.v1.BaseModel):
        json_schema = schema.schema()
    elif isinstance(schema, dict):
        json_schema = _unwrapped(schema)
    elif is_typeddict(schema):
        json_schema = typed_dict_schema(schema)
    else:
        _refuse(schema)
    named: dict[str, Any] = {"name": str(json_schema.get("title", "answer")), "schema": json_schema}
    if strict is not None:
        named["strict"] = strict
    response_format = {"type": "json_schema", "json_schema": named}
    is_model = is_class and not is_typeddict(schema)
    parser: BaseOutputParser[Any] = (
        ModelParser(pydantic_object=schema, response_format=response_format) if is_model else JsonParser(response_format=response_format)
    )
    return AnswerSchema(response_format, parser, _for_traces(schema, named["name"]))


class _SchemaOfClass(GenerateJsonSchema):
    """Sets without ``uniqueItems``, which no grammar can hold to: Python's sets leave out what comes twice by themselves."""

    @override
    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        return _without_unique(super().set_schema(schema))

    @override
    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        return _without_unique(super().frozenset_schema(schema))


def _without_unique(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {key: value for key, value in schema.items() if key != "uniqueItems"}


def _for_traces(schema: Any, name: str) -> Any:
    """LangChain describes the schema in traces as it would a tool, and stumbles over some that are none."""
    if is_typeddict(schema):
        return typed_dict_schema(schema)
    if isinstance(schema, dict) and not isinstance(schema.get("type", ""), str):
        return {"title": name, "allOf": [schema]}
    return schema


def _unwrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema inside OpenAI's or Anthropic's way to name one."""
    if schema.get("type") == "function" and isinstance(schema.get("function"), dict):
        schema = schema["function"]
    for inside in ("parameters", "input_schema", "schema"):
        if isinstance(schema.get("name"), str) and isinstance(schema.get(inside), dict):
            return {"title": schema["name"], **schema[inside]}
    return schema


def _choices(name: str, values: dict[str, Any], count: int) -> AnswerSchema:
    if len(values) < count:
        msg = f"{name}: two of its values are written alike, so that an answer would not tell them apart. Make them different as text."
        raise InvalidGrammarError(msg)
    response_format = {"type": "choice", "choices": list(values)}
    parser = ChoiceParser(values=values, response_format=response_format)
    return AnswerSchema(response_format, parser, {"title": name, "type": "string", "enum": list(values)})


def _written(value: Any) -> str:
    """A choice as text: strings without quotes, other values as in JSON."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    msg = f"Choices are texts, numbers, booleans or None, not {type(value).__name__} ({value!r})."
    raise InvalidGrammarError(msg)


def _pattern(pattern: re.Pattern[Any]) -> AnswerSchema:
    if not isinstance(pattern.pattern, str):
        msg = "A regular expression over bytes can't be held to. Compile it from a str."
        raise InvalidGrammarError(msg)
    allowed = {re.UNICODE: "", re.IGNORECASE: "i", re.DOTALL: "s"}
    letters = "".join(letter for flag, letter in allowed.items() if pattern.flags & flag)
    others = pattern.flags & ~re.RegexFlag(sum(allowed))
    if others:
        msg = f"The flags {re.RegexFlag(others)!r} of a regular expression can't be held to; IGNORECASE and DOTALL can. Write it without."
        raise InvalidGrammarError(msg)
    definition = f"(?{letters}){pattern.pattern}" if letters else pattern.pattern
    response_format = {"type": "grammar", "syntax": "regex", "definition": definition}
    json_schema = {"title": "answer", "type": "string", "pattern": pattern.pattern}
    return AnswerSchema(response_format, TextParser(response_format=response_format, pattern=pattern), json_schema)


def _refuse(schema: Any) -> NoReturn:
    msg = (
        f"with_structured_output can't take {schema!r} as a schema. Give a Pydantic class, a TypedDict, a JSON schema, an Enum class, "
        "a Literal or a compiled regular expression."
    )
    raise InvalidGrammarError(msg)


__all__ = ["AnswerSchema", "read_schema"]
