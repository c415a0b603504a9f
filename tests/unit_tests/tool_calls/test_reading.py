"""An answer becomes text and calls, in the notation of each family."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.tool_calls import KNOWN_FORMATS, BrokenCall, Piece, Tool, ToolCall, ToolCallReader

WEATHER = Tool(
    "get_weather",
    "The weather of a place.",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
)
CLOCK = Tool("get_time")
TOOLS = (WEATHER, CLOCK)
OSLO = ToolCall("get_weather", {"city": "Oslo", "days": 3})
NOW = ToolCall("get_time", {})


def read(name: str, *texts: str, tools: tuple[Tool, ...] = TOOLS) -> list[Piece]:
    """The pieces of an answer, neighbouring text joined."""
    reader = ToolCallReader(KNOWN_FORMATS[name], tools)
    pieces: list[Piece] = []
    for piece in [*(piece for text in texts for piece in reader.push(text)), *reader.finish()]:
        if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


WRITTEN: list[tuple[str, str, list[Piece]]] = [
    ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>', [OSLO]),
    ("hermes", 'Let me see.\n<tool_call>{"name": "get_time", "arguments": {}}</tool_call>', ["Let me see.", NOW]),
    ("hermes", '<tool_call>\n{"name": "get_time"}\n</tool_call>\n<tool_call>\n{"name": "get_time"}\n</tool_call>', [NOW, NOW]),
    ("hermes", '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\", \\"days\\": 3}"}', [OSLO]),
    (
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call>"}}</tool_call>',
        [ToolCall("get_weather", {"city": "</tool_call>"})],
    ),
    ("hermes", '{"name": "get_weather", "arguments": {"city": "Oslo", "days": "3"}}', [OSLO]),
    (
        "smollm2",
        '<tool_call>[{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}, {"name": "get_time"}]</tool_call>',
        [OSLO, NOW],
    ),
    (
        "qwen-coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        [OSLO],
    ),
    ("llama3", '{"name": "get_weather", "parameters": {"city": "Oslo", "days": 3}}', [OSLO]),
    ("llama3", '<|python_tag|>{"name": "get_time", "parameters": {}}; {"name": "get_time", "parameters": {}}', [NOW, NOW]),
    ("llama3", '[get_weather(city="Oslo", days=3), get_time()]', [OSLO, NOW]),
    ("mistral", '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}, "id": "abcdefghi"}]', [OSLO]),
    ("mistral", '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo", "days": 3}[TOOL_CALLS]get_time[ARGS]{}', [OSLO, NOW]),
    ("mistral", "[TOOL_CALLS]get_time[CALL_ID]abcdefghi[ARGS]{}", [NOW]),
    ("functiongemma", "<start_function_call>call:get_weather{city:<escape>Oslo<escape>,days:3}<end_function_call>", [OSLO]),
    ("gemma4", '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:3}<tool_call|><|tool_call>call:get_time{}<tool_call|>', [OSLO, NOW]),
    ("json", '```json\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}\n```', [OSLO]),
    ("json", '```tool_code\nprint(get_weather(city="Oslo", days=3))\n```', [OSLO]),
    ("json", '[{"name": "get_time", "arguments": {}}]\nDone.', [NOW, "\nDone."]),
    ("json", '{"type": "function", "function": {"name": "get_time", "arguments": {}}}', [NOW]),
]


@pytest.mark.parametrize(("name", "text", "pieces"), WRITTEN)
def test_each_family_s_calls_are_read(name: str, text: str, pieces: list[Piece]) -> None:
    """What a family writes comes out as text and calls, arguments as the schema wants them."""
    assert read(name, text) == pieces


PLAIN = [
    "Hello!",
    " \n It is 3 < 4. \n",
    '{"city": "Oslo", "name": "no tool"}',
    '{"name": "Ada", "age": 3}',
    '{"name": "get_weather"',
    "[1, 2, 3] are numbers",
    "```python\nx = 1\n```",
    "```json\n[1]\n```",
    "<tool_cal",
    "[TOOL_",
    "get_weather",
    "[get_wea",
    "```",
    "",
]


@pytest.mark.parametrize("name", KNOWN_FORMATS)
@pytest.mark.parametrize("text", PLAIN)
def test_text_that_is_no_call_stays_as_it_is(name: str, text: str) -> None:
    """JSON, code and half marks that call no offered tool are the answer, unchanged."""
    assert read(name, text) == ([text] if text else [])


@pytest.mark.parametrize(
    ("name", "text", "raw", "tool"),
    [
        (
            "hermes",
            'Well <tool_call>{"name": "get_time", "arguments": {</tool_call> then',
            '{"name": "get_time", "arguments": {',
            "get_time",
        ),
        ("hermes", "Well <tool_call>oh dear", "oh dear", None),
        ("hermes", "Well <tool_call></tool_call>", "", None),
        (
            "hermes",
            'Well <tool_call>{"name": "get_time", "arguments": [1]}</tool_call>',
            '{"name": "get_time", "arguments": [1]}',
            "get_time",
        ),
        ("mistral", "Well [TOOL_CALLS]get_time[ARGS]{oops", "get_time[ARGS]{oops", "get_time"),
        ("gemma4", "Well <|tool_call>call:get_time{a<tool_call|>", "call:get_time{a", "get_time"),
        ("qwen-coder", "Well <tool_call><function=</tool_call>", "<function=", None),
        ("functiongemma", "Well <start_function_call>call:get_time{a:<escape>x", "call:get_time{a:<escape>x", "get_time"),
        # The token limit in the middle of a value: 1 is not what was to be paid.
        ("qwen-coder", "Well <tool_call><function=get_weather><parameter=days>1", "<parameter=days>1", "get_weather"),
        ("qwen-coder", "Well <tool_call><function=get_weather><parameter=days>1</parameter>\n", "<parameter=days>1", "get_weather"),
        (
            "qwen-coder",
            "Well <tool_call><function=get_time></function><function=get_weather></tool_call>",
            "<function=get_weather>",
            "get_time",
        ),
        ("qwen-coder", "Well <tool_call>now <function=get_time></function></tool_call>", "now", "get_time"),
        ("qwen-coder", "Well <tool_call><function=get_time>oh</function></tool_call>", "oh", "get_time"),
        ("qwen-coder", "Well <tool_call><function=get_time></function>oh</tool_call>", "oh", "get_time"),
        ("llama3", "Well <|python_tag|>get_weather(city={1, 2})", "{1, 2}", "get_weather"),
        ("llama3", 'Well <|python_tag|>get_weather(**{"city": "Oslo"})', "**", "get_weather"),
        ("hermes", 'Well <tool_call>{"name": "get_weather", "arguments": {"days": 1e999}}</tool_call>', "1e999", "get_weather"),
        ("hermes", 'Well <tool_call>{"name": "get_weather", "arguments": {"city": "\\ud83d"}}</tool_call>', "ud83d", "get_weather"),
        ("llama3", "Well <|python_tag|>import os; os.remove('x')", "import os; os.remove('x')", None),
    ],
)
def test_what_can_not_be_read_between_marks_is_a_broken_call_with_its_text(name: str, text: str, raw: str, tool: str | None) -> None:
    """A broken call keeps what was written, says what is wrong, and names the tool where it can."""
    first, broken, *rest = read(name, text)
    assert first == "Well"
    assert isinstance(broken, BrokenCall)
    assert broken.name == tool
    assert broken.raw == text.removeprefix("Well ").removesuffix(" then")
    assert raw in broken.raw
    assert broken.problem
    assert rest == ([" then"] if text.endswith("then") else [])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FREE = Tool("store", "", {"type": "object"})
# Gemma's notation can't quote its own marks, nor say a number as every key; XML tells no text from JSON.
JSON_FORMATS = ["hermes", "smollm2", "llama3", "mistral", "json"]


def cut(text: str, places: list[int]) -> list[str]:
    """Text in pieces."""
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@given(
    st.sampled_from(JSON_FORMATS),
    st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0), max_size=6),
)
def test_what_a_format_writes_it_reads_again(name: str, arguments: list[dict[str, Any]], places: list[int]) -> None:
    """Calls with any arguments survive writing and reading, however the text is cut up on its way."""
    calls = [ToolCall("store", entry) for entry in arguments]
    text = KNOWN_FORMATS[name].write(calls)
    assert read(name, *cut(text, places), tools=(FREE,)) == calls


GEMMA_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="<|>")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["gemma4", "functiongemma"]),
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), GEMMA_VALUES, max_size=4),
    st.lists(st.integers(0), max_size=6),
)
def test_gemma_s_notation_is_read_as_written(name: str, arguments: dict[str, Any], places: list[int]) -> None:
    """Numbers, texts, lists and objects survive."""
    text = KNOWN_FORMATS[name].write([ToolCall("store", arguments)])
    assert read(name, *cut(text, places), tools=(FREE,)) == [ToolCall("store", arguments)]


BITS = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "```", "json", "tool_code", "get_time(", ")"),
        *("{", "}", "[", "]", '"', "\\", '{"name": "get_time", "arguments": {}}', "name", ":", ",", ";", " ", "\n", "a"),
        *("call:get_time{", '<|"|>', "<escape>", "<|tool_call>", "<tool_call|>", "<start_function_call>", "<end_function_call>"),
        *("<function=get_time>", "</function>"),
    ]
)


@given(st.sampled_from(sorted(KNOWN_FORMATS)), st.lists(BITS, max_size=12).map("".join), st.lists(st.integers(0), max_size=8))
def test_how_an_answer_is_cut_up_changes_nothing(name: str, text: str, places: list[int]) -> None:
    """Streaming gives the same pieces as reading all at once, and never an error."""
    assert read(name, *cut(text, places)) == read(name, text)


@given(st.sampled_from(sorted(KNOWN_FORMATS)), st.lists(BITS, max_size=12).map("".join))
def test_no_text_is_lost(name: str, text: str) -> None:
    """All that is not white space, a mark, or a call that was read is in the text or in a broken call."""
    pieces = read(name, text)
    if any(isinstance(piece, ToolCall) for piece in pieces):
        return
    kept = "".join(piece if isinstance(piece, str) else piece.raw for piece in pieces)
    known = KNOWN_FORMATS[name]
    left = text
    for mark in (known.opening, known.closing):
        left = left.replace(mark, "") if mark else left
        kept = kept.replace(mark, "") if mark else kept
    assert "".join(kept.split()) == "".join(left.split())


def test_deep_nesting_is_refused_and_does_not_crash() -> None:
    """A thousand brackets are a broken call, in JSON and in Gemma's notation."""
    for name, text in (("hermes", "<tool_call>" + "[" * 100_000), ("gemma4", "<|tool_call>call:get_time" + "{a:" * 100_000)):
        (piece,) = read(name, text)
        assert isinstance(piece, BrokenCall)


@pytest.mark.parametrize("value", ["{1, 2}", "1j", "...", "{(1, 2): 3}", 'b"x"'])
def test_python_values_that_json_does_not_know_are_no_call(value: str) -> None:
    """Without marks they are the answer's text."""
    text = f"[get_weather(city={value})]"
    assert read("llama3", text) == [text]


def test_python_values_become_those_of_json() -> None:
    """A tuple is a list, and numbers that are keys are text, as they are when the call is streamed."""
    (call,) = read("llama3", "[store(places=(1, 2), names={1: None})]", tools=(FREE,))
    assert call == ToolCall("store", {"places": [1, 2], "names": {"1": None}})


def test_numbers_that_json_does_not_know_are_broken() -> None:
    """NaN can't be sent to a tool as JSON."""
    (piece,) = read("hermes", '<tool_call>{"name": "get_weather", "arguments": {"days": NaN}}</tool_call>')
    assert isinstance(piece, BrokenCall)
    assert json.loads("NaN") != json.loads("NaN")
