"""The kinds of chats that are put together from tools and formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks.tool_chats.formats import FORMATS
from benchmarks.tool_chats.tools import TOOLS, WITH_ARGUMENTS, WITHOUT_ARGUMENTS, MadeUpTool

Row = dict[str, Any]
_SYSTEMS = ("You are a helpful assistant.", "Be brief.", "You help people.", "Answer politely.", "You work for a small company.")
_SMALL_TALK = (
    ("Good morning!", "Good morning! How can I help you?"),
    ("Thanks a lot.", "You're welcome!"),
    ("Who are you?", "I am an assistant. I can use tools to help you."),
    ("That was great, bye.", "Goodbye! Have a nice day."),
    ("Hey there", "Hey! What can I do for you?"),
    ("I am tired today.", "I am sorry to hear that. Take a rest if you can."),
    ("What can you do?", "I can answer questions and use the tools I have."),
    ("Do you like music?", "I can't hear music, but I like to talk about it."),
    ("Good evening, nice to meet you.", "Good evening! Nice to meet you, too."),
)
_AND = ("{a} And {b}", "{a} {b}", "{a} Also: {b}")


def make_chats(count: int, seed: int) -> list[Row]:
    """Chats by rule; the same for the same seed."""
    random = Random(seed)
    kinds = [kind for kind, _ in _SCENES]
    shares = [share for _, share in _SCENES]
    return [random.choices(kinds, shares)[0](random) for _ in range(count)]


def _opened(random: Random, text: str) -> list[Row]:
    head = [{"role": "system", "content": random.choice(_SYSTEMS)}] if random.random() < 0.2 else []
    return [*head, {"role": "user", "content": text}]


def _call(name: str, arguments: dict[str, Any], number: int = 1) -> Row:
    return {"type": "function", "id": f"call_{number}", "function": {"name": name, "arguments": arguments}}


def _calls(*calls: Row) -> Row:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def _with(random: Random, tool: MadeUpTool, others: int) -> list[Row]:
    """The tool among others, in any order."""
    rest = random.sample([other for other in TOOLS if other is not tool], others)
    offered = [tool, *rest]
    random.shuffle(offered)
    return [each.offered(random) for each in offered]


def _one_call(random: Random, tools: Sequence[MadeUpTool] = WITH_ARGUMENTS) -> Row:
    tool = random.choice(tools)
    text, arguments = tool.asked(random)
    offered = _with(random, tool, random.choice((0, 0, 0, 1)))
    return {"messages": [*_opened(random, text), _calls(_call(tool.name, arguments))], "tools": offered}


def _bare_call(random: Random) -> Row:
    return _one_call(random, WITHOUT_ARGUMENTS)


def _two_calls(random: Random) -> Row:
    tool = random.choice(WITH_ARGUMENTS)
    other = random.choice([tool, random.choice(TOOLS)])
    (text, arguments), (more, others) = tool.asked(random), other.asked(random)
    offered = [tool.offered(random), *([other.offered(random)] if other is not tool else [])]
    asked = random.choice(_AND).format(a=text, b=more)
    return {"messages": [*_opened(random, asked), _calls(_call(tool.name, arguments), _call(other.name, others, 2))], "tools": offered}


def _told(random: Random) -> Row:
    """A tool has answered, and the answer is to be told."""
    tool = random.choice(TOOLS)
    text, arguments = tool.asked(random)
    result, words = tool.answered(random, arguments)
    if random.random() < 0.1:
        result, words = "Error: not available", "I am sorry, that is not available right now."
    answer = {"role": "tool", "tool_call_id": "call_1", "name": tool.name, "content": result}
    said = [*_opened(random, text), _calls(_call(tool.name, arguments)), answer, {"role": "assistant", "content": words}]
    return {"messages": said, "tools": [tool.offered(random)]}


def _again(random: Random) -> Row:
    """After one call and its answer another is asked for."""
    tool = random.choice(WITH_ARGUMENTS)
    (text, arguments), (more, others) = tool.asked(random), tool.asked(random)
    result, words = tool.answered(random, arguments)
    answer = {"role": "tool", "tool_call_id": "call_1", "name": tool.name, "content": result}
    said = [*_opened(random, text), _calls(_call(tool.name, arguments)), answer, {"role": "assistant", "content": words}]
    return {"messages": [*said, {"role": "user", "content": more}, _calls(_call(tool.name, others, 2))], "tools": [tool.offered(random)]}


def _no_call(random: Random) -> Row:
    text, words = random.choice(_SMALL_TALK)
    offered = [tool.offered(random) for tool in random.sample(TOOLS, random.choice((0, 1, 1)))]
    return {"messages": [*_opened(random, text), {"role": "assistant", "content": words}], **({"tools": offered} if offered else {})}


def _formatted(random: Random) -> Row:
    schema, text, value = random.choice(FORMATS)(random)
    named = {"name": schema["title"], "schema": schema}
    answer = {"role": "assistant", "content": json.dumps(value, ensure_ascii=False)}
    shown = {"show_schema": True} if random.random() < 0.5 else {}
    return {"messages": [*_opened(random, text), answer], "response_format": {"type": "json_schema", "json_schema": named}, **shown}


def _any_json(random: Random) -> Row:
    """JSON without a schema: the keys are in the words."""
    schema, text, value = random.choice(FORMATS)(random)
    keys = " and ".join(f"'{key}'" for key in schema["properties"])
    way = random.choice(
        ("{t} Answer in JSON with the keys {k}.", "{t} Give me JSON that has {k}, nothing else.", "{t} As a JSON object: {k}.")
    )
    answer = {"role": "assistant", "content": json.dumps(value, ensure_ascii=False)}
    return {"messages": [*_opened(random, way.format(t=text, k=keys)), answer], "response_format": {"type": "json_object"}}


_SCENES: tuple[tuple[Callable[[Random], Row], float], ...] = (
    (_one_call, 0.42),
    (_bare_call, 0.08),
    (_two_calls, 0.05),
    (_told, 0.10),
    (_again, 0.04),
    (_no_call, 0.08),
    (_formatted, 0.16),
    (_any_json, 0.07),
)
