"""The kinds of chats that are put together from tools and formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from benchmarks.tool_chats.formats import FORMATS
from benchmarks.tool_chats.reporting import reported
from benchmarks.tool_chats.talk import FACTS, SMALL_TALK, SYSTEMS, THANKS
from benchmarks.tool_chats.tools import FAILURES, TOOLS, WITH_ARGUMENTS, WITHOUT_ARGUMENTS, Answer, MadeUpTool
from benchmarks.tool_chats.values import CoiningRandom

Row = dict[str, Any]
_AND = ("{a} And {b}", "{a} {b}", "{a} Also: {b}", "First: {a} Second: {b}", "{a} Then: {b}")
_THEN = ("And now: {b}", "{b}", "Thanks. {b}", "Good. {b}", "Another thing. {b}")


def make_chats(count: int, seed: int, *, crowded: bool = False, ending: bool = False) -> list[Row]:
    """Chats by rule; the same for the same seed.

    Args:
        count: How many.
        seed: Seed.
        crowded: Whether tools stand among one to three others, where else they mostly stand alone.
        ending: Crowded, too, but once a tool has answered no other is called, and many words are coined.
    """
    random = CoiningRandom(seed) if ending else Random(seed)
    scenes = _ENDING if ending else _CROWDED if crowded else _SCENES
    kinds = [kind for kind, _ in scenes]
    shares = [share for _, share in scenes]
    rows = [random.choices(kinds, shares)[0](random) for _ in range(count)]
    return [{name: value for name, value in row.items() if name != "kinds"} for row in rows]


def _in_crowd(scene: Callable[[Random], Row]) -> Callable[[Random], Row]:
    """The same scene with more tools on offer."""

    def crowded(random: Random) -> Row:
        row = scene(random)
        offered = row.get("tools", [])
        taken = {*row.get("kinds", ()), *(tool["function"]["name"] for tool in offered)}
        others = random.sample([tool for tool in TOOLS if tool.name not in taken], random.choice((1, 1, 2, 2, 3)))
        tools = [*offered, *(tool.renamed(random).offered(random) for tool in others)]
        random.shuffle(tools)
        return {**row, "tools": tools}

    return crowded


def _opened(random: Random, text: str) -> list[Row]:
    head = [{"role": "system", "content": random.choice(SYSTEMS)}] if random.random() < 0.2 else []
    return [*head, {"role": "user", "content": text}]


def _call(name: str, arguments: dict[str, Any], number: int = 1) -> Row:
    return {"type": "function", "id": f"call_{number}", "function": {"name": name, "arguments": arguments}}


def _calls(*calls: Row) -> Row:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def _draw(random: Random, tools: Sequence[MadeUpTool] = TOOLS, *, but: Sequence[MadeUpTool] = ()) -> MadeUpTool:
    """A tool, under its own name or another."""
    kinds = {tool.kind for tool in but}
    return random.choice([tool for tool in tools if tool.kind not in kinds]).renamed(random)


def _offers(random: Random, *tools: MadeUpTool, others: int = 0) -> Row:
    """These tools among others, in any order."""
    drawn = list(tools)
    for _ in range(others):
        drawn.append(_draw(random, but=drawn))
    random.shuffle(drawn)
    return {"tools": [tool.offered(random) for tool in drawn], "kinds": [tool.kind for tool in drawn]}


def _one_call(random: Random, tools: Sequence[MadeUpTool] = WITH_ARGUMENTS) -> Row:
    tool = _draw(random, tools)
    text, arguments = tool.asked(random)
    offers = _offers(random, tool, others=random.choice((0, 0, 0, 1)))
    return {"messages": [*_opened(random, text), _calls(_call(tool.name, arguments))], **offers}


def _bare_call(random: Random) -> Row:
    return _one_call(random, WITHOUT_ARGUMENTS)


def _two(random: Random) -> tuple[str, list[MadeUpTool], list[dict[str, Any]]]:
    """Two things asked at once, of one tool or of two."""
    tool = _draw(random, WITH_ARGUMENTS)
    tools = [tool, tool if random.random() < 0.4 else _draw(random, but=[tool])]
    (text, arguments), (more, others) = (each.asked(random) for each in tools)
    return random.choice(_AND).format(a=text, b=more), tools, [arguments, others]


def _distinct(tools: Sequence[MadeUpTool]) -> list[MadeUpTool]:
    return list({tool.name: tool for tool in tools}.values())


def _two_calls(random: Random) -> Row:
    text, tools, arguments = _two(random)
    calls = [_call(tool.name, given, number) for number, (tool, given) in enumerate(zip(tools, arguments, strict=True), start=1)]
    return {"messages": [*_opened(random, text), _calls(*calls)], **_offers(random, *_distinct(tools))}


def _answer(tool: MadeUpTool, answer: Answer, number: int = 1) -> Row:
    return {"role": "tool", "tool_call_id": f"call_{number}", "name": tool.name, "content": answer.sent}


def _answered(random: Random, tool: MadeUpTool, arguments: dict[str, Any]) -> Answer:
    return random.choice(FAILURES) if random.random() < 0.1 else tool.answered(random, arguments)


def _say(words: str) -> Row:
    return {"role": "assistant", "content": words}


def _told(random: Random) -> Row:
    """A tool has answered, and the answer is to be told."""
    tool = _draw(random)
    return {"messages": [*_opened(random, "")[:-1], *_round(random, tool)], **_offers(random, tool, others=_few(random))}


def _both_told(random: Random) -> Row:
    """Two calls at once have been answered, and both answers are to be told."""
    text, tools, arguments = _two(random)
    answers = [_answered(random, tool, given) for tool, given in zip(tools, arguments, strict=True)]
    calls = _calls(*(_call(tool.name, given, number) for number, (tool, given) in enumerate(zip(tools, arguments, strict=True), start=1)))
    sent = [_answer(tool, answer, number) for number, (tool, answer) in enumerate(zip(tools, answers, strict=True), start=1)]
    said = [*_opened(random, text), calls, *sent, _say(_both(answers))]
    return {"messages": said, **_offers(random, *_distinct(tools))}


def _one_by_one(random: Random) -> Row:
    """Two things were asked at once, and the first is answered: then comes the other call, and then the end."""
    text, tools, arguments = _two(random)
    answers = [_answered(random, tool, given) for tool, given in zip(tools, arguments, strict=True)]
    said = _opened(random, text)
    for number, (tool, given, answer) in enumerate(zip(tools, arguments, answers, strict=True), start=1):
        said += [_calls(_call(tool.name, given, number)), _answer(tool, answer, number)]
    said = said[:-1] if random.random() < 0.4 else [*said, _say(_both(answers))]
    return {"messages": said, **_offers(random, *_distinct(tools))}


def _both(answers: Sequence[Answer]) -> str:
    return " ".join(dict.fromkeys(answer.words for answer in answers))


def _chained(random: Random) -> Row:
    """What one tool answers is what the other has to be asked with."""
    chain = random.choice(_CHAINS)
    first, second = _BY_NAME[chain.finder].renamed(random), _BY_NAME[random.choice(chain.targets)].renamed(random)
    (name,) = second.draw
    _, looked_up = first.asked(random)
    text = random.choice(chain.asks or second.asks).format(**{**looked_up, name: chain.said_as.format(**looked_up), "tool": second.name})
    found = first.answered(random, looked_up)
    (value,) = found.facts.values()
    answer = _answered(random, second, {name: value})
    said = [*_opened(random, text), _calls(_call(first.name, looked_up)), _answer(first, found)]
    said += [_calls(_call(second.name, {name: value}, 2)), _answer(second, answer, 2), _say(answer.words)]
    return {"messages": said[: random.choice((-4, -2, None))], **_offers(random, first, second)}


def _again(random: Random) -> Row:
    """After one call, its answer and the words for it another is asked for, and perhaps told."""
    tool = _draw(random, WITH_ARGUMENTS)
    other = tool if random.random() < 0.5 else _draw(random, WITH_ARGUMENTS, but=[tool])
    before, after = _round(random, tool), _round(random, other, 2)
    after[0]["content"] = random.choice(_THEN).format(b=after[0]["content"])
    said = [*before, *after][: random.choice((-2, None))]
    return {"messages": [*_opened(random, "")[:-1], *said], **_offers(random, *_distinct((tool, other)))}


def _thanked(random: Random) -> Row:
    """After the words nothing more is asked for."""
    tool = _draw(random)
    thanks, words = random.choice(THANKS)
    said = [*_round(random, tool), {"role": "user", "content": thanks}, _say(words)]
    return {"messages": [*_opened(random, "")[:-1], *said], **_offers(random, tool, others=_few(random))}


def _round(random: Random, tool: MadeUpTool, number: int = 1) -> list[Row]:
    """A question, the call, the tool's answer and the words for it."""
    text, arguments = tool.asked(random)
    answer = _answered(random, tool, arguments)
    call = _calls(_call(tool.name, arguments, number))
    return [{"role": "user", "content": text}, call, _answer(tool, answer, number), _say(answer.words)]


def _few(random: Random) -> int:
    return random.choice((0, 0, 1))


def _no_call(random: Random) -> Row:
    text, words = random.choice(SMALL_TALK if random.random() < 0.5 else FACTS)
    offers = _offers(random, others=random.choice((0, 1, 1)))
    return {"messages": [*_opened(random, text), _say(words)], **(offers if offers["tools"] else {})}


def _formatted(random: Random) -> Row:
    schema, text, value = random.choice(FORMATS)(random)
    shown = {"show_schema": True} if random.random() < 0.5 else {}
    return {"messages": [*_opened(random, text), _say(_json(value))], **_held_to(schema), **shown}


def _format_called(random: Random) -> Row:
    """The schema is offered as if it were a tool, alone or beside one that is no help."""
    schema, text, value = random.choice(FORMATS)(random)
    offers = _offers(random, others=random.choice((0, 0, 1)))
    offered = [_as_tool(schema), *offers["tools"]]
    random.shuffle(offered)
    return {"messages": [*_opened(random, text), _calls(_call(schema["title"], value))], "tools": offered, "kinds": offers["kinds"]}


def _report_called(random: Random) -> Row:
    """A tool beside a schema offered as one: first the tool is called, then the schema with what the tool answered."""
    tool, said, schema, value = _to_report(random)
    offers = _offers(random, tool)
    offered = [*offers["tools"], _as_tool(schema)]
    random.shuffle(offered)
    if said[-1]["role"] == "tool":
        said.append(_calls(_call(schema["title"], value, 2)))
    return {"messages": said, "tools": offered, "kinds": offers["kinds"]}


def _report_written(random: Random) -> Row:
    """A tool beside a format of the answer: first the tool is called, then what it answered is written in that format."""
    tool, said, schema, value = _to_report(random)
    if said[-1]["role"] == "tool":
        said.append(_say(_json(value)))
    return {"messages": said, **_offers(random, tool, others=_few(random)), **_held_to(schema)}


def _to_report(random: Random) -> tuple[MadeUpTool, list[Row], dict[str, Any], dict[str, Any]]:
    """A tool, a chat that ends with its call or with its answer, and how the answer is reported."""
    tool = _draw(random)
    text, arguments = tool.asked(random)
    answer = _answered(random, tool, arguments)
    schema, value = reported(random, tool, arguments, answer)
    said = [*_opened(random, text), _calls(_call(tool.name, arguments))]
    return tool, said if random.random() < 0.45 else [*said, _answer(tool, answer)], schema, value


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


_BY_NAME = {tool.name: tool for tool in TOOLS}


class _Chain(NamedTuple):
    """Two tools of which one finds out what the other has to be asked with.

    Attributes:
        finder: The one that finds it out.
        targets: Those that can be asked then; they take nothing else.
        said_as: How it is named before it is known.
        asks: Ways to ask for both, where those of the second tool won't do.
    """

    finder: str
    targets: tuple[str, ...]
    said_as: str = ""
    asks: tuple[str, ...] = ()


_OF_CITIES = tuple(tool.name for tool in WITH_ARGUMENTS if list(tool.drawn.values()) == ["city"] and len(tool.draw) == 1)
_CHAINS = (
    _Chain("home_city", _OF_CITIES, "the city where {name} lives"),
    _Chain("home_city", _OF_CITIES, "{name}'s home town"),
    _Chain("parcel_of", ("track_parcel",), asks=("Where is {name}'s parcel?", "Track the parcel of {name}.")),
    _Chain("account_of", ("account_balance",), asks=("How much is in {name}'s account?", "Balance of {name}'s account, please.")),
    _Chain("ticket_of", ("ticket_details",), asks=("What is the ticket of {name} about?", "Read me the ticket that {name} opened.")),
)

_SCENES: tuple[tuple[Callable[[Random], Row], float], ...] = (
    (_one_call, 0.28),
    (_bare_call, 0.06),
    (_two_calls, 0.05),
    (_told, 0.12),
    (_both_told, 0.02),
    (_one_by_one, 0.02),
    (_again, 0.04),
    (_thanked, 0.02),
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
        (_one_call, 0.20),
        (_bare_call, 0.04),
        (_two_calls, 0.05),
        (_told, 0.20),
        (_both_told, 0.05),
        (_one_by_one, 0.05),
        (_chained, 0.06),
        (_again, 0.05),
        (_thanked, 0.03),
        (_no_call, 0.08),
        (_format_called, 0.03),
        (_report_called, 0.10),
        (_report_written, 0.06),
    )
)


def _told_one_by_one(random: Random) -> Row:
    """As `_one_by_one`, at its end."""
    while (row := _one_by_one(random))["messages"][-1].get("tool_calls"):
        pass
    return row


# A small model can't tell when one more call is needed. What it can learn is to end.
_ENDING: tuple[tuple[Callable[[Random], Row], float], ...] = tuple(
    (_in_crowd(scene), share)
    for scene, share in (
        (_one_call, 0.19),
        (_bare_call, 0.03),
        (_two_calls, 0.08),
        (_told, 0.27),
        (_both_told, 0.07),
        (_told_one_by_one, 0.02),
        (_again, 0.04),
        (_thanked, 0.02),
        (_no_call, 0.07),
        (_format_called, 0.03),
        (_report_called, 0.12),
        (_report_written, 0.06),
    )
)
