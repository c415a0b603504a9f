"""The chats that teach tool calls are made up by rule, and hold nothing of the tests they are judged by."""

from __future__ import annotations

import ast
import inspect
import json

import jsonschema
import langchain_tests.integration_tests.chat_models as suite
import pytest

from benchmarks.agent_trial.cases import SETS
from benchmarks.agent_trial.tools import FORMATS, TOOLS
from benchmarks.tool_chats.reporting import ABOUT
from benchmarks.tool_chats.scenes import make_chats
from langchain_softprompt.data import Chat

# What the shipped soft prompt learned from and was chosen by.
CHATS = [
    *make_chats(6000, 0),
    *make_chats(6000, 2, crowded=True),
    *make_chats(100, 1),
    *make_chats(200, 3, crowded=True),
    *make_chats(1200, 4, ending=True),
    *make_chats(400, 6),
    *make_chats(60, 5, ending=True),
]
_SENDING = {"invoke", "ainvoke", "stream", "astream", "HumanMessage"}


def test_every_chat_can_be_learned_and_its_calls_and_answers_fit_their_schemas() -> None:
    calls = formats = 0
    for row in CHATS:
        last = Chat.of(row).messages[-1]
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row.get("tools", ())}
        for call in last.get("tool_calls", ()):
            jsonschema.Draft202012Validator(schemas[call["function"]["name"]]).validate(call["function"]["arguments"])
            calls += 1
        if row.get("response_format", {}).get("type") == "json_schema" and not last.get("tool_calls"):
            jsonschema.Draft202012Validator(row["response_format"]["json_schema"]["schema"]).validate(json.loads(last["content"]))
            formats += 1

    assert calls > 1000
    assert formats > 200


def test_the_same_seed_makes_the_same_chats_and_another_other_ones() -> None:
    assert make_chats(50, 3) == make_chats(50, 3)
    assert make_chats(50, 3) != make_chats(50, 4)


def _sent(node: ast.AST) -> list[str]:
    """Texts in a call that sends them to a model, or in the assignment of a query."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".", 1)[-1] in _SENDING:
        inside: ast.AST = node
    elif isinstance(node, ast.Assign) and "query" in ast.unparse(node.targets[0]):
        inside = node.value
    else:
        return []
    return [part.value for part in ast.walk(inside) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def test_nothing_that_langchain_s_suite_asks_is_in_them() -> None:
    """No text that the suite sends to a model, no name of its tools."""
    tree = ast.parse(inspect.getsource(suite))
    sent = {text for node in ast.walk(tree) for text in _sent(node)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    tools = {node.name for node in functions if "tool" in "".join(map(ast.unparse, node.decorator_list))}
    assert len(sent) > 15
    assert {"magic_function", "get_weather"} <= tools
    written = json.dumps(CHATS, ensure_ascii=False).lower()
    said = {message["content"].strip().lower() for row in CHATS for message in row["messages"]}

    assert not {text for text in sent if text.strip().lower() in said}
    assert not {text for text in sent if len(text) > 15 and text.lower() in written}
    assert not {name for name in tools if name.lower() in written}


@pytest.mark.parametrize("word", ["joke", "my_adder_tool", "weather", "magic", "pirate", "san francisco", "你好", "こんにちは"])
def test_nor_is_what_the_suite_s_texts_are_about(word: str) -> None:
    assert word not in json.dumps(CHATS, ensure_ascii=False).lower()


def test_nor_are_the_tools_and_questions_that_agents_are_tried_with() -> None:
    written = json.dumps(CHATS, ensure_ascii=False).lower()

    assert not [name for name in (*TOOLS, *FORMATS) if name.lower() in written]
    assert not [case.asked for cases in SETS.values() for case in cases if case.asked.lower() in written]


def test_once_a_tool_has_answered_no_other_is_called_in_chats_that_teach_to_end() -> None:
    for row in make_chats(400, 7, ending=True):
        *_, before, last = row["messages"]
        names = {call["function"]["name"] for call in last.get("tool_calls", ())}
        offered = {tool["function"]["name"]: tool["function"] for tool in row.get("tools", ())}
        if before["role"] == "tool":
            assert all(offered[name]["description"] in ABOUT for name in names)
