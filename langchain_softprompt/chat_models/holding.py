"""What a call's answer is held to: a call of a tool, a format, or one of the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langchain_softprompt.chat_models.tool_calling import special_id
from langchain_softprompt.grammars import GrammarSource
from langchain_softprompt.tool_calls import ToolCallReader, ToolFormat, call_grammar

if TYPE_CHECKING:
    from langchain_softprompt.calls.response_format import ResponseFormat
    from langchain_softprompt.messages import ToolUse


def held_to(tokenizer: Any, use: ToolUse, tool_format: ToolFormat, held: ResponseFormat | None, *, allow_invalid: bool) -> dict[str, Any]:
    """Constraint and check of a call.

    Where a tool has to be called, that is what the answer is held to. Where tools are offered and a format is asked for as
    well, as agents do for their final answer, it is either calls or that format.

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
    if not use.wanted and held is None:
        return {}
    from langchain_softprompt.sampling import Grammar  # brings in torch

    if held is not None and not use.tools:
        return {"constraint": held.constraint(tokenizer), "check": None if allow_invalid else held.check}
    otherwise = held.source.schema if held is not None and not use.wanted else None
    if held is not None and not use.wanted and otherwise is None:
        return {"constraint": held.constraint(tokenizer), "check": None if allow_invalid else held.check}
    grammar = call_grammar(
        tool_format,
        use.wanted or use.tools,
        several=use.several,
        special_id=lambda mark: special_id(tokenizer, mark),
        otherwise=otherwise,
    )
    check = _unless_called(held.check, use, tool_format) if held is not None and not use.wanted and not allow_invalid else None
    return {"constraint": Grammar(GrammarSource.from_lark(grammar), tokenizer), "check": check}


def _unless_called(check: Callable[[str, str | None], None], use: ToolUse, tool_format: ToolFormat) -> Callable[[str, str | None], None]:
    def check_text(text: str, finish_reason: str | None) -> None:
        reader = ToolCallReader(tool_format, use.tools)
        if all(isinstance(piece, str) for piece in [*reader.push(text), *reader.finish()]):
            check(text, finish_reason)

    return check_text


__all__ = ["held_to"]
