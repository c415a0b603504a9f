"""An answer that has to be a call is held to the format by a grammar."""

from __future__ import annotations

from functools import cache
from typing import Any

import llguidance.hf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from langchain_softprompt.testing import tiny_tokenizer
from langchain_softprompt.tool_calls import KNOWN_FORMATS, Tool, ToolCall, call_grammar, free_grammar

TOKENIZER: Any = tiny_tokenizer()
GUIDED = llguidance.hf.from_tokenizer(TOKENIZER)
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "additionalProperties": False}
TOOLS = (
    Tool("add", "", {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}),
    Tool("walk", "", {"type": "object", "properties": {"from": {"$ref": "#/$defs/Node"}}, "required": ["from"], "$defs": {"Node": NODE}}),
    Tool("räume", "", {"type": "object", "properties": {"größe": {"enum": ["klein", "groß"]}}, "required": ["größe"]}),
    Tool("now"),
)
WALK = ToolCall("walk", {"from": {"next": {"next": {}}}})


@cache
def matcher_of(grammar: str) -> LLMatcher:
    """A grammar at its beginning."""
    matcher = LLMatcher(GUIDED, grammar)
    assert not matcher.get_error(), matcher.get_error()
    return matcher


def accepts(grammar: str, text: str) -> bool:
    """Whether an answer may be this text and end there."""
    matcher = matcher_of(grammar).deep_copy()
    tokens = TOKENIZER.encode(text, add_special_tokens=False)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def grammar_of(name: str, *, several: bool = True, tools: tuple[Tool, ...] = TOOLS) -> str:
    """A format's grammar, for a tokenizer without marks of its own."""
    return call_grammar(KNOWN_FORMATS[name], tools, several=several, special_id=lambda _: None)


CALLS = st.one_of(
    st.builds(lambda a, b: ToolCall("add", {"a": a, "b": b}), st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9)),
    st.just(WALK),
    st.sampled_from(["klein", "groß"]).map(lambda size: ToolCall("räume", {"größe": size})),
    st.just(ToolCall("now", {})),
)


@given(st.sampled_from(sorted(KNOWN_FORMATS)), st.lists(CALLS, min_size=1, max_size=3))
def test_the_grammar_takes_what_the_format_writes(name: str, calls: list[ToolCall]) -> None:
    """Any calls of the tools are allowed just as the format writes them; a second one only where several may come."""
    text = KNOWN_FORMATS[name].frame.write(calls)
    assert accepts(grammar_of(name), text)
    assert accepts(grammar_of(name, several=False), text) == (len(calls) == 1)


def test_calls_come_to_an_end() -> None:
    """Eight calls are the most that one answer may make."""
    frame = KNOWN_FORMATS["hermes"].frame
    assert accepts(grammar_of("hermes"), frame.write([ToolCall("now", {})] * 8))
    assert not accepts(grammar_of("hermes"), frame.write([ToolCall("now", {})] * 9))


@pytest.mark.parametrize("name", KNOWN_FORMATS)
def test_the_grammar_refuses_everything_else(name: str) -> None:
    """Words, unknown tools, arguments of another type, missing and invented ones."""
    frame = KNOWN_FORMATS[name].frame
    wrong = [ToolCall("sub", {"a": 1, "b": 2}), ToolCall("add", {"a": "1", "b": 2}), ToolCall("add", {"a": 1}), ToolCall("now", {"x": 1})]
    for call in wrong:
        assert not accepts(grammar_of(name), frame.write([call]))
    assert not accepts(grammar_of(name), "Hello!")
    assert not accepts(grammar_of(name), "")


MARKED = ["hermes", "mistral", "smollm2", "qwen-coder"]


@pytest.mark.parametrize("name", MARKED)
def test_an_answer_that_may_call_is_text_or_calls(name: str) -> None:
    """Any text, calls behind any text, and text behind them where each has marks of its own; nothing else behind an opening mark."""
    frame = KNOWN_FORMATS[name].frame
    grammar = free_grammar(KNOWN_FORMATS[name], TOOLS, several=True, special_id=lambda _: None)
    assert grammar is not None
    good = frame.write([ToolCall("now", {}), WALK])
    for text in ("", "Hello!", "3 < 4\n[1]", good, f"I look.\n{good}", "<tool", "Größe: 3"):
        assert accepts(grammar, text), text
    assert accepts(grammar, f"{good}\nThere.") == (name in {"hermes", "qwen-coder"})
    opening = KNOWN_FORMATS[name].opening
    for text in (f"{opening}oh dear", f"I look. {opening}", frame.write([ToolCall("sub", {})]), frame.write([ToolCall("add", {"a": "1"})])):
        assert not accepts(grammar, text), text


def test_without_an_opening_mark_nothing_tells_calls_from_text() -> None:
    """So such answers are free."""
    for name in set(KNOWN_FORMATS) - set(MARKED):
        assert free_grammar(KNOWN_FORMATS[name], TOOLS, several=True, special_id=lambda _: None) is None


def test_a_mark_that_is_one_token_is_held_to_that_token() -> None:
    """A special token is not the same as its letters."""
    start = TOKENIZER.convert_tokens_to_ids("<|im_start|>")
    tool_format = KNOWN_FORMATS["json"]
    frame = type(tool_format.frame)("<|im_start|>", "", "")
    marked = type(tool_format)("x", "<|im_start|>", "", tool_format.read, frame.write, frame)
    grammar = call_grammar(marked, TOOLS, several=False, special_id={"<|im_start|>": start}.get)
    matcher = LLMatcher(GUIDED, grammar)
    assert not matcher.get_error(), matcher.get_error()
    assert matcher.try_consume_tokens([start]) == 1
    assert LLMatcher(GUIDED, grammar).try_consume_tokens(TOKENIZER.encode("<", add_special_tokens=False)) == 0
