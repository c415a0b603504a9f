"""The kinds of chats that are put together from tools and formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks.tool_chats.formats import FORMATS
from benchmarks.tool_chats.reporting import reported
from benchmarks.tool_chats.tools import FAILED, TOOLS, WITH_ARGUMENTS, WITHOUT_ARGUMENTS, Answer, MadeUpTool

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


def make_chats(count: int, seed: int, *, crowded: bool = False) -> list[Row]:
    """Chats by rule; the same for the same seed.

    Args:
        count: How many.
        seed: Seed.
        crowded: Whether tools stand among one to three others, where else they mostly stand alone.
    """
    random = Random(seed)
    scenes = _CROWDED if crowded else _SCENES
    kinds = [kind for kind, _ in scenes]
    shares = [share for _, share in scenes]
    return [random.choices(kinds, shares)[0](random) for _ in range(count)]


def _in_crowd(scene: Callable[[Random], Row]) -> Callable[[Random], Row]:
    """The same scene with more tools on offer."""

    def crowded(random: Random) -> Row:
        row = scene(random)
        offered = row.get("tools", [])
        names = {tool["function"]["name"] for tool in offered}
        others = random.sample([tool for tool in TOOLS if tool.name not in names], random.randint(1, 3))
        tools = [*offered, *(tool.offered(random) for tool in others)]
        random.shuffle(tools)
        return {**row, "tools": tools}

    return crowded


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


def _answer(tool: MadeUpTool, answer: Answer, number: int = 1) -> Row:
    return {"role": "tool", "tool_call_id": f"call_{number}", "name": tool.name, "content": answer.sent}


def _answered(random: Random, tool: MadeUpTool, arguments: dict[str, Any]) -> Answer:
    return FAILED if random.random() < 0.1 else tool.answered(random, arguments)


def _say(words: str) -> Row:
    return {"role": "assistant", "content": words}


def _told(random: Random) -> Row:
    """A tool has answered, and the answer is to be told."""
    tool = random.choice(TOOLS)
    text, arguments = tool.asked(random)
    answer = _answered(random, tool, arguments)
    said = [*_opened(random, text), _calls(_call(tool.name, arguments)), _answer(tool, answer), _say(answer.words)]
    return {"messages": said, "tools": _with(random, tool, random.choice((0, 0, 1)))}


def _both_told(random: Random) -> Row:
    """Two calls have been answered, and both answers are to be told."""
    tool = random.choice(WITH_ARGUMENTS)
    (text, arguments), (more, others) = tool.asked(random), tool.asked(random)
    asked = random.choice(_AND).format(a=text, b=more)
    calls = _calls(_call(tool.name, arguments), _call(tool.name, others, 2))
    first, second = _answered(random, tool, arguments), _answered(random, tool, others)
    said = [*_opened(random, asked), calls, _answer(tool, first), _answer(tool, second, 2), _say(f"{first.words} {second.words}")]
    return {"messages": said, "tools": [tool.offered(random)]}


def _again(random: Random) -> Row:
    """After one call and its answer another is asked for."""
    tool = random.choice(WITH_ARGUMENTS)
    (text, arguments), (more, others) = tool.asked(random), tool.asked(random)
    answer = tool.answered(random, arguments)
    said = [*_opened(random, text), _calls(_call(tool.name, arguments)), _answer(tool, answer), _say(answer.words)]
    return {"messages": [*said, {"role": "user", "content": more}, _calls(_call(tool.name, others, 2))], "tools": [tool.offered(random)]}


def _no_call(random: Random) -> Row:
    text, words = random.choice(_SMALL_TALK)
    offered = [tool.offered(random) for tool in random.sample(TOOLS, random.choice((0, 1, 1)))]
    return {"messages": [*_opened(random, text), _say(words)], **({"tools": offered} if offered else {})}


def _formatted(random: Random) -> Row:
    schema, text, value = random.choice(FORMATS)(random)
    shown = {"show_schema": True} if random.random() < 0.5 else {}
    return {"messages": [*_opened(random, text), _say(_json(value))], **_held_to(schema), **shown}


def _format_called(random: Random) -> Row:
    """The schema is offered as if it were a tool, alone or beside one that is no help."""
    schema, text, value = random.choice(FORMATS)(random)
    offered = [_as_tool(schema), *(tool.offered(random) for tool in random.sample(TOOLS, random.choice((0, 0, 1))))]
    random.shuffle(offered)
    return {"messages": [*_opened(random, text), _calls(_call(schema["title"], value))], "tools": offered}


def _report_called(random: Random) -> Row:
    """A tool beside a schema offered as one: first the tool is called, then the schema with what the tool answered."""
    tool, said, schema, value = _to_report(random)
    offered = [tool.offered(random), _as_tool(schema)]
    random.shuffle(offered)
    if said[-1]["role"] == "tool":
        said.append(_calls(_call(schema["title"], value, 2)))
    return {"messages": said, "tools": offered}


def _report_written(random: Random) -> Row:
    """A tool beside a format of the answer: first the tool is called, then what it answered is written in that format."""
    tool, said, schema, value = _to_report(random)
    if said[-1]["role"] == "tool":
        said.append(_say(_json(value)))
    return {"messages": said, "tools": _with(random, tool, random.choice((0, 0, 1))), **_held_to(schema)}


def _to_report(random: Random) -> tuple[MadeUpTool, list[Row], dict[str, Any], dict[str, Any]]:
    """A tool, a chat that ends with its call or with its answer, and how the answer is reported."""
    tool = random.choice(TOOLS)
    text, arguments = tool.asked(random)
    answer = _answered(random, tool, arguments)
    schema, value = reported(random, tool, arguments, answer)
    said = [*_opened(random, text), _calls(_call(tool.name, arguments))]
    return tool, said if random.random() < 0.35 else [*said, _answer(tool, answer)], schema, value


def _held_to(schema: dict[str, Any]) -> Row:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": schema["title"], "schema": schema}}}


def _as_tool(schema: dict[str, Any]) -> Row:
    parameters = {name: about for name, about in schema.items() if name not in ("title", "description")}
    return {"type": "function", "function": {"name": schema["title"], "description": schema["description"], "parameters": parameters}}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _any_json(random: Random) -> Row:
    """JSON without a schema: the keys are in the words."""
    schema, text, value = random.choice(FORMATS)(random)
    keys = " and ".join(f"'{key}'" for key in schema["properties"])
    way = random.choice(
        ("{t} Answer in JSON with the keys {k}.", "{t} Give me JSON that has {k}, nothing else.", "{t} As a JSON object: {k}.")
    )
    asked = _opened(random, way.format(t=text, k=keys))
    return {"messages": [*asked, _say(_json(value))], "response_format": {"type": "json_object"}}


_SCENES: tuple[tuple[Callable[[Random], Row], float], ...] = (
    (_one_call, 0.31),
    (_bare_call, 0.07),
    (_two_calls, 0.05),
    (_told, 0.12),
    (_both_told, 0.02),
    (_again, 0.04),
    (_no_call, 0.07),
    (_formatted, 0.09),
    (_any_json, 0.05),
    (_format_called, 0.04),
    (_report_called, 0.07),
    (_report_written, 0.07),
)

# Told oftener than called: what a model has to learn among many tools is to stop.
_CROWDED: tuple[tuple[Callable[[Random], Row], float], ...] = tuple(
    (_in_crowd(scene), share)
    for scene, share in (
        (_one_call, 0.22),
        (_bare_call, 0.05),
        (_two_calls, 0.05),
        (_told, 0.28),
        (_both_told, 0.04),
        (_again, 0.04),
        (_no_call, 0.08),
        (_format_called, 0.04),
        (_report_called, 0.10),
        (_report_written, 0.10),
    )
)
