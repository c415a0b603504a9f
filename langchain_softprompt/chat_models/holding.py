"""What a call's answer is held to: a call of a tool, a format, or one of the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_softprompt.chat_models.tool_calling import special_id
from langchain_softprompt.errors import InvalidGrammarError
from langchain_softprompt.grammars import GrammarSource, available, formed_schema
from langchain_softprompt.tool_calls import Tool, ToolCallReader, ToolFormat, call_grammar, free_grammar

if TYPE_CHECKING:
    from langchain_softprompt.calls.response_format import ResponseFormat
    from langchain_softprompt.chats import ToolUse
    from langchain_softprompt.sampling import Constraint


def held_to(tokenizer: Any, use: ToolUse, tool_format: ToolFormat, held: ResponseFormat | None, *, allow_invalid: bool) -> dict[str, Any]:
    """Constraint and check of a call.

    Where a tool has to be called, that is what the answer is held to. Where tools are offered and a format is asked for as
    well, as agents do for their final answer, it is either calls or that format. Where tools are only offered, text is
    free, and what follows a mark that opens calls is held to the tools' schemas, as far as llguidance is there and can do it.

    Args:
        tokenizer: The frozen model's.
        use: The tools.
        tool_format: How the model writes calls.
        held: The format.
        allow_invalid: Whether an answer that does not fit its format is given all the same.

    Raises:
        InvalidGrammarError: Answers can't be held to a tool's schema or the format.
        MissingExtraError: llguidance or jsonschema is not installed.
    """
    check = held.check if held is not None and not allow_invalid else None
    if held is not None and (not use.tools or (held.source.formed is None and not use.wanted)):
        return {"constraint": held.constraint(tokenizer), "check": check}
    if use.wanted:
        return {"constraint": _constraint(tokenizer, call_grammar(tool_format, _formed(use.wanted), **_how(tokenizer, use)))}
    if held is not None:
        grammar = call_grammar(tool_format, _formed(use.tools), otherwise=held.source.formed, **_how(tokenizer, use))
        return {"constraint": _constraint(tokenizer, grammar), "check": _unless_called(check, use, tool_format) if check else None}
    if use.tools and available():
        with suppress(InvalidGrammarError):
            free = free_grammar(tool_format, _formed(use.tools), **_how(tokenizer, use))
            return {"constraint": _constraint(tokenizer, free)} if free is not None else {}
    return {}


def _how(tokenizer: Any, use: ToolUse) -> dict[str, Any]:
    return {"several": use.several, "special_id": lambda mark: special_id(tokenizer, mark)}


def _constraint(tokenizer: Any, grammar: str) -> Constraint:
    from langchain_softprompt.sampling import Grammar  # brings in torch

    return Grammar(GrammarSource.from_lark(grammar), tokenizer)


def _formed(tools: Sequence[Tool]) -> list[Tool]:
    """Tools whose schemas are as the grammar wants them."""
    return [replace(tool, parameters=formed_schema(dict(tool.parameters))) for tool in tools]


def _unless_called(check: Callable[[str, str | None], None], use: ToolUse, tool_format: ToolFormat) -> Callable[[str, str | None], None]:
    def check_text(text: str, finish_reason: str | None) -> None:
        reader = ToolCallReader(tool_format, use.tools)
        if all(isinstance(piece, str) for piece in [*reader.push(text), *reader.finish()]):
            check(text, finish_reason)

    return check_text


__all__ = ["held_to"]
