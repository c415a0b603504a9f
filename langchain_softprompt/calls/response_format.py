"""``response_format``: what a call's answer is held to, in OpenAI's words, and a few for what those have no word for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_softprompt.chats import format_words
from langchain_softprompt.errors import AnswerFormatError, InvalidGrammarError, InvalidSettingsError
from langchain_softprompt.grammars import GrammarSource

if TYPE_CHECKING:
    from langchain_softprompt.sampling import Constraint


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What an answer is held to.

    Attributes:
        source: The grammar.
        instruction: The same in words, for a model that was not trained for it; ``None`` where there are no words.
    """

    source: GrammarSource
    instruction: str | None = None

    def constraint(self, tokenizer: Any) -> Constraint:
        """The grammar in a model's tokens.

        Raises:
            InvalidGrammarError: It takes more than the limits allow, or the tokenizer is of a kind that can't be used.
        """
        from langchain_softprompt.sampling import Grammar  # brings in torch, so not before the first call

        return Grammar(self.source, tokenizer)

    def check(self, text: str, finish_reason: str | None) -> None:
        """Refuse an answer that is not of this format.

        Raises:
            AnswerFormatError: The token limit or a stop string cut it, or it does not fit its schema.
        """
        if finish_reason == "length":
            msg = f"The answer was cut by max_tokens before it was complete: {_shortened(text)}. Raise max_tokens, or bound the schema."
            raise AnswerFormatError(msg, text=text, reason="length")
        if finish_reason == "stop_sequence":
            msg = f"A stop string cut the answer before it was complete: {_shortened(text)}. Ask for it without stop strings."
            raise AnswerFormatError(msg, text=text, reason="stop_sequence")
        problem = self.source.why_invalid(text)
        if problem:
            msg = f"The answer does not fit its JSON schema: {problem}. It was: {_shortened(text)}."
            raise AnswerFormatError(msg, text=text, reason="schema")


def read_response_format(response_format: Any) -> ResponseFormat | None:
    """What an answer is held to; ``None`` for plain text.

    Args:
        response_format: ``None``, or a dictionary with a ``type``: ``"text"``, ``"json_object"``, ``"json_schema"`` with
            ``json_schema``, ``"choice"`` with ``choices``, ``"grammar"`` with ``syntax`` and ``definition``.

    Raises:
        InvalidSettingsError: It is none of these.
        InvalidGrammarError: The schema or grammar can't be held to.
        MissingExtraError: llguidance or jsonschema is not installed.
    """
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        _refuse(f"a {type(response_format).__name__}")
    try:
        text = json.dumps(dict(response_format))
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"response_format can't be written as JSON: {error}."
        raise InvalidGrammarError(msg) from None
    return _read(text)


@lru_cache(maxsize=256)
def _read(text: str) -> ResponseFormat | None:
    given = json.loads(text)
    kind = given.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        _refuse(f"type {kind!r}")
    return reader(given)


def _json_object(given: dict[str, Any]) -> ResponseFormat:
    return ResponseFormat(GrammarSource.from_json_schema({"type": "object"}), format_words(given))


def _json_schema(given: dict[str, Any]) -> ResponseFormat:
    named = given.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(named, dict) or not isinstance(schema, dict):
        _refuse("json_schema without a schema in it")
    source = GrammarSource.from_json_schema(schema, closed=named.get("strict") is not False)
    return ResponseFormat(source, format_words(given))


def _choice(given: dict[str, Any]) -> ResponseFormat:
    choices = given.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        _refuse("choice without a list of texts as its choices")
    return ResponseFormat(GrammarSource.from_choices(choices), format_words(given))


def _grammar(given: dict[str, Any]) -> ResponseFormat:
    syntax, definition = given.get("syntax"), given.get("definition")
    if syntax not in ("lark", "regex") or not isinstance(definition, str):
        _refuse("grammar without a syntax ('lark' or 'regex') and a definition")
    return ResponseFormat(GrammarSource.from_regex(definition) if syntax == "regex" else GrammarSource.from_lark(definition))


_READERS: dict[str, Callable[[dict[str, Any]], ResponseFormat | None]] = {
    "text": lambda _given: None,
    "json_object": _json_object,
    "json_schema": _json_schema,
    "choice": _choice,
    "grammar": _grammar,
}


def _refuse(found: str) -> NoReturn:
    msg = (
        f"response_format: found {found}. It is a dictionary with one of these types: {', '.join(map(repr, _READERS))}; for instance "
        "{'type': 'json_schema', 'json_schema': {'name': 'answer', 'schema': {...}}}. For a class, use with_structured_output."
    )
    raise InvalidSettingsError(msg)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:120]} ... {text[-60:]}")


__all__ = ["ResponseFormat", "read_response_format"]
