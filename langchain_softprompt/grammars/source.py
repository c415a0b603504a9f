"""GrammarSource: one thing to hold answers to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self

from langchain_softprompt.errors import InvalidGrammarError
from langchain_softprompt.grammars.answer_check import check_schema, why_invalid
from langchain_softprompt.grammars.library import library
from langchain_softprompt.grammars.schema_forms import (
    with_ascii_references,
    with_closed_objects,
    without_idle_words,
    without_unknown_formats,
)
from langchain_softprompt.grammars.schema_walk import walk

# Whitespace only where JSON is usually written with it, one space at most: a model can't lose itself in blanks. The rest
# would let a schema of a stranger's (x-guidance) loosen what it is held to.
_JSON_OPTIONS = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "coerce_one_of": False,
    "lenient": False,
}
_MOST_CHARACTERS = 1_000_000
_IS_MARKED = re.compile(r"(?m)^\s*%llguidance\b")


def parser_limits() -> Any:
    """What compiling and each mask may take; about as much as llguidance's own, with less memory for lexer states (100 MB)."""
    return library("llguidance").LLParserLimits(
        max_items_in_row=2_000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000,
        max_lexer_states=50_000,
        max_grammar_size=500_000,
        verbose_errors=False,
    )


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """What answers are held to. It is checked when it is made, and needs no model.

    Attributes:
        kind: What it was made from.
        grammar: The same in llguidance's own form.
        schema: The JSON schema as text, for checking answers; ``None`` for the other kinds.
        formed: The same as the grammar wants it, to be put into a larger one; see `formed_schema`.
        pattern: The regular expression, for that kind.
    """

    kind: Literal["json_schema", "regex", "lark", "choices"]
    grammar: str
    schema: str | None = None
    formed: str | None = None
    pattern: str | None = None

    @classmethod
    def from_json_schema(cls, schema: dict[str, Any], *, closed: bool = True) -> Self:
        """JSON that fits a schema, its properties in the schema's order, with no whitespace but a space after ``,`` and ``:``.

        Args:
            schema: A JSON schema of the draft that its ``$schema`` names, else of 2020-12. A ``format`` that is not known is
                a remark only.
            closed: Whether objects hold only what they declare, where the schema says nothing about others.

        Raises:
            InvalidGrammarError: The schema is malformed, fits nothing, or has a keyword that can't be held to.
            MissingExtraError: llguidance or jsonschema is not installed.
        """
        text = _as_json(schema)
        try:
            check_schema(schema)
            formed = json.dumps(formed_schema(schema, closed=closed))
            grammar = library("llguidance").LLMatcher.grammar_from_json_schema(formed, overrides=_JSON_OPTIONS)
        except InvalidGrammarError:
            raise
        except (ValueError, RecursionError) as error:
            msg = f"The JSON schema can't be held to: {str(error)[:300]}. Make it smaller."
            raise InvalidGrammarError(msg) from None
        problem = _problem(grammar)
        if problem:
            msg = (
                f"The JSON schema can't be held to{_where(problem, schema)}: {problem}. "
                "Leave that out of the schema, or ask for plain text and check it yourself."
            )
            raise InvalidGrammarError(msg)
        return cls("json_schema", grammar, text, formed)

    @classmethod
    def from_regex(cls, pattern: str) -> Self:
        """Text that a regular expression matches as a whole; the syntax is that of Rust's regex, without look-around and back references.

        Raises:
            InvalidGrammarError: The pattern can't be read, or can't be held to.
            MissingExtraError: llguidance is not installed.
        """
        return cls._checked("regex", library("llguidance").LLMatcher.grammar_from_regex(pattern), "regular expression", pattern)

    @classmethod
    def from_lark(cls, grammar: str) -> Self:
        """Text of a context-free grammar in llguidance's form of Lark; it begins at the rule ``start``.

        Raises:
            InvalidGrammarError: The grammar can't be read.
            MissingExtraError: llguidance is not installed.
        """
        return cls._checked("lark", library("llguidance").LLMatcher.grammar_from_lark(grammar), "Lark grammar")

    @classmethod
    def from_choices(cls, choices: Iterable[str]) -> Self:
        """One of several given texts, however they are cut into tokens.

        Raises:
            InvalidGrammarError: There are none, or one is empty.
            MissingExtraError: llguidance is not installed.
        """
        texts = list(dict.fromkeys(choices))
        if not texts or not all(texts):
            msg = "choices: expected texts of at least one character, found " + ("an empty one." if texts else "none.")
            raise InvalidGrammarError(msg)
        lark = "start: " + " | ".join(json.dumps(text) for text in texts)
        return cls._checked("choices", library("llguidance").LLMatcher.grammar_from_lark(lark), "list of choices")

    def as_lark(self) -> str:
        """The same in llguidance's form of Lark, which names no tokenizer and so can be sent to whoever has llguidance."""
        if self.formed is not None:
            grammar = f"start: %json {json.dumps({**json.loads(self.formed), 'x-guidance': _JSON_OPTIONS})}"
        else:
            grammar = self.grammar if self.pattern is None else f"start: {_lark_regex(self.pattern)}"
        # A program that takes several forms of grammars knows Lark's by this line.
        return grammar if _IS_MARKED.search(grammar) else f"%llguidance {{}}\n{grammar}"

    def why_invalid(self, text: str) -> str | None:
        """Why a finished answer is not what it was held to; ``None`` where it is, or where there is no second way to tell."""
        return why_invalid(text, self.schema) if self.schema is not None else None

    @classmethod
    def _checked(cls, kind: Literal["regex", "lark", "choices"], grammar: str, word: str, pattern: str | None = None) -> Self:
        problem = _problem(grammar)
        if problem:
            msg = f"The {word} can't be held to: {problem}."
            raise InvalidGrammarError(msg)
        return cls(kind, grammar, pattern=pattern)


def _lark_regex(pattern: str) -> str:
    """A pattern between slashes, as llguidance itself writes it."""
    grammar = json.loads(library("llguidance").LLMatcher.grammar_from_regex(pattern))
    lark: str = grammar["grammars"][0]["lark_grammar"]
    return lark.removeprefix("start: ")


def formed_schema(schema: dict[str, Any], *, closed: bool = True) -> dict[str, Any]:
    """A JSON schema as the grammar wants it, to be put into a larger one.

    Args:
        schema: The schema.
        closed: Whether objects hold only what they declare, where the schema says nothing about others.
    """
    formed = with_ascii_references(without_idle_words(without_unknown_formats(schema, _is_known_format)))
    return with_closed_objects(formed) if closed else formed


@lru_cache(maxsize=64)  # Schemas and tools stay the same from call to call, and a look at them takes milliseconds.
def _problem(grammar: str) -> str:
    """What llguidance has against a grammar, in a line; empty for nothing."""
    if len(grammar) > _MOST_CHARACTERS:
        return f"it has {len(grammar)} characters, and {_MOST_CHARACTERS} are the most"
    wrong, messages = library("llguidance").LLMatcher.validate_grammar_with_warnings(grammar, None, limits=parser_limits())
    message = re.sub(r"\s+", " ", messages[0]).strip().rstrip(".")[:500] if wrong else ""
    if message.startswith("oneOf"):
        return "the branches of a oneOf may overlap. Write anyOf, or give each branch a required property with a const of its own"
    return message


@lru_cache(maxsize=256)
def _is_known_format(name: str) -> bool:
    return not _problem(library("llguidance").LLMatcher.grammar_from_json_schema(json.dumps({"type": "string", "format": name})))


def _where(problem: str, schema: dict[str, Any]) -> str:
    """The places of the keywords that a complaint names."""
    found = re.search(r"Unimplemented keys: (\[.*?\])", problem)
    words = set(json.loads(found[1])) if found else {"oneOf"} if "oneOf" in problem else set()
    places = [place for place, part in walk(schema) if words & set(part)]
    return f" at {', '.join(places[:3])}" if places else ""


def _as_json(schema: Any) -> str:
    if not isinstance(schema, dict):
        msg = f"A JSON schema is a dictionary here, not {type(schema).__name__}."
        raise InvalidGrammarError(msg)
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"The JSON schema can't be written as JSON: {error}."
        raise InvalidGrammarError(msg) from None


__all__ = ["GrammarSource", "formed_schema", "parser_limits"]
