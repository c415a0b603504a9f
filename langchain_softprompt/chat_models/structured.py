"""`with_structured_output`: a chat model, held to a schema, and a parser behind it."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.output_parsers import BaseOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough

from langchain_softprompt.calls.arguments import check_call
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.chat_models.schemas import AnswerSchema, read_schema
from langchain_softprompt.errors import InvalidSettingsError

_METHODS = ("json_schema", "function_calling", "json_mode")


def structured_output(
    llm: Runnable[Any, Any],
    schema: Any,
    *,
    method: str = "json_schema",
    include_raw: bool = False,
    strict: bool | None = None,
    **kwargs: Any,
) -> Runnable[Any, Any]:
    """Hold a chat model's answers to a schema, and read them.

    Args:
        llm: A `ChatSoftPrompt`, or one with arguments bound.
        schema: What `read_schema` takes.
        method: Which way LangChain's other models would go.
        include_raw: Give ``raw``, ``parsed`` and ``parsing_error`` in place of the value, and raise nothing for an answer
            that can't be read.
        strict: False lets objects hold more than they declare, where the schema allows it.
        **kwargs: More arguments for each call.

    Raises:
        InvalidSettingsError: The method is not known, or there is no schema where one is needed.
        InvalidGrammarError: The schema can't be held to.
        MissingExtraError: llguidance or jsonschema is not installed.
    """
    if method not in _METHODS:
        msg = f"method: expected one of {', '.join(map(repr, _METHODS))}, found {method!r}."
        raise InvalidSettingsError(msg)
    if schema is None and method != "json_mode":
        msg = "with_structured_output needs a schema. For any JSON object, say method='json_mode'."
        raise InvalidSettingsError(msg)
    with in_langchain_family():
        answer = read_schema(schema, strict=strict)
        bound = {
            **kwargs,
            "ls_structured_output_format": {"kwargs": {"method": method, "strict": strict}, "schema": answer.json_schema},
            **({"allow_invalid": True} if include_raw else {}),  # the parser tells it, beside the raw answer
        }
        by = _by_calling if method == "function_calling" else _by_format
        return by(llm, answer, bound, include_raw=include_raw)


def _by_format(llm: Runnable[Any, Any], answer: AnswerSchema, bound: dict[str, Any], *, include_raw: bool) -> Runnable[Any, Any]:
    """The whole answer is the value."""
    arguments = {**bound, "response_format": answer.response_format}
    check_call(arguments)
    return _read(llm.bind(**arguments), answer.parser, include_raw=include_raw)


def _by_calling(llm: Runnable[Any, Any], answer: AnswerSchema, bound: dict[str, Any], *, include_raw: bool) -> Runnable[Any, Any]:
    """The value as the arguments of a tool that must be called; to the caller the outcome is the same."""
    return _by_format(llm, answer, bound, include_raw=include_raw)


def _read(llm: Runnable[Any, Any], parser: BaseOutputParser[Any], *, include_raw: bool) -> Runnable[Any, Any]:
    if not include_raw:
        return llm | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    # The model comes first, as a chain hands the arguments of its call to its first step alone.
    return llm | RunnableMap(raw=RunnablePassthrough()) | parsed.with_fallbacks([failed], exception_key="parsing_error")


__all__ = ["structured_output"]
