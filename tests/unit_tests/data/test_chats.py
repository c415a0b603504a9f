"""Chats are learned exactly as they are served: `ChatSoftPrompt` is the witness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, convert_to_messages

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.data import Chat, chat_examples, read_chats
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.testing import FakeEngine, tiny_model, tiny_soft_prompt, tiny_tokenizer

KNOWS_TOOLS = (
    "{% if tools %}<|im_start|>system\nTOOLS {% for tool in tools %}{{ tool['function'] | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}CALL {{ call['function']['name'] }} "
    "{{ call['function']['arguments'] | tojson }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL = {
    "type": "function",
    "function": {
        "name": "tide",
        "description": "The tide.",
        "parameters": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": {"port": "Brest é"}}}
ASKED = [{"role": "user", "content": "The tide at Brest é?"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "high"}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "Tide", "schema": {"type": "object", "properties": {"é": {"type": "string"}}}}}
CHATS: list[dict[str, Any]] = [
    {"messages": [*ASKED, {"role": "assistant", "content": "High."}]},
    {"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools": [TOOL]},
    {"messages": [{"role": "system", "content": "Be brief."}, *ANSWERED, {"role": "assistant", "content": "It is high."}], "tools": [TOOL]},
    {"messages": [*ASKED, {"role": "assistant", "content": '{"é": "high"}'}], "response_format": SCHEMA},
    {"messages": [*ASKED, {"role": "assistant", "content": '{"é": "high"}'}], "response_format": SCHEMA, "show_schema": True},
    {
        "messages": [{"role": "system", "content": "Be brief."}, *ASKED, {"role": "assistant", "content": "{}"}],
        "response_format": SCHEMA,
        "show_schema": True,
    },
    *(
        {
            "messages": [*ANSWERED, {"role": "assistant", "content": '{"é": "high"}'}],
            "tools": [TOOL],
            "response_format": SCHEMA,
            **({} if shown is None else {"show_schema": shown}),
        }
        for shown in (None, True, False)
    ),
]


def _messages(chat: dict[str, Any]) -> list[BaseMessage]:
    """LangChain's own reading of OpenAI's messages."""
    written = [
        {**message, "tool_calls": [{**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}]}
        if (call := next(iter(message.get("tool_calls", [])), None))
        else message
        for message in chat["messages"][:-1]
    ]
    return convert_to_messages(written)


@pytest.mark.parametrize("template", [None, KNOWS_TOOLS], ids=["template without tools", "template with tools"])
@pytest.mark.parametrize("chat", CHATS)
def test_what_is_read_in_training_is_what_a_chat_model_sends(chat: dict[str, Any], template: str | None) -> None:
    tokenizer = tiny_tokenizer(chat_template=template) if template else tiny_tokenizer()
    engine = FakeEngine(["OK"], tokenizer=tokenizer)
    llm = ChatSoftPrompt(model="tiny", engine=engine, soft_prompt=tiny_soft_prompt(1), max_tokens=100)  # type: ignore[arg-type]
    asked = {name: chat[name] for name in ("tools", "response_format", "show_schema") if name in chat}
    if "response_format" in chat:
        asked["allow_invalid"] = True  # what a made-up engine answers fits no schema
    llm.invoke(_messages(chat), **asked)

    (example,) = chat_examples(tiny_model(tokenizer=tokenizer), [Chat.of(chat)], max_tokens=2000, source="chats")

    assert list(example.text) == list(engine.requests[0].token_ids)


def test_a_call_is_learned_as_the_model_s_format_writes_it_and_then_the_turn_ends() -> None:
    model = tiny_model()
    (example,) = chat_examples(model, [Chat.of(CHATS[1])], max_tokens=2000, source="chats")

    written = '<tool_call>\n{"name": "tide", "arguments": {"port": "Brest é"}}\n</tool_call>'
    assert model.tokenizer is not None
    assert model.tokenizer.decode(list(example.completion)) == f"{written}<|im_end|>"


def test_a_template_that_knows_tools_says_itself_how_a_call_is_written() -> None:
    model = tiny_model(tokenizer=tiny_tokenizer(chat_template=KNOWS_TOOLS))
    (example,) = chat_examples(model, [Chat.of(CHATS[1])], max_tokens=2000, source="chats")

    assert model.tokenizer is not None
    assert model.tokenizer.decode(list(example.completion)).startswith("CALL tide {")


def test_arguments_may_be_an_object_or_the_json_of_one() -> None:
    as_text = json.loads(json.dumps(CHATS[1]))
    as_text["messages"][-1]["tool_calls"][0]["function"]["arguments"] = '{"port": "Brest é"}'

    assert Chat.of(as_text) == Chat.of(CHATS[1])


def test_a_chat_is_written_as_it_is_read() -> None:
    for chat in CHATS:
        assert Chat.of(Chat.of(chat).to_json()) == Chat.of(chat)


def test_a_file_is_read_line_by_line_and_cells_of_a_table_may_hold_json(tmp_path: Path) -> None:
    lines = tmp_path / "chats.jsonl"
    lines.write_text("\n".join(map(json.dumps, CHATS)), encoding="utf-8")
    table = tmp_path / "chats.csv"
    quoted = json.dumps(CHATS[1]["messages"]).replace('"', '""'), json.dumps(CHATS[1]["tools"]).replace('"', '""')
    table.write_text('messages,tools\n"{}","{}"\n'.format(*quoted), encoding="utf-8")

    assert read_chats(lines) == [Chat.of(chat) for chat in CHATS]
    assert read_chats(table) == [Chat.of(CHATS[1])]


WRONG = {"function": {"name": "tide", "arguments": {"port": 7}}}
LEVEL = {"type": "json_schema", "json_schema": {"name": "level", "schema": {"type": "object", "properties": {"level": {"type": "number"}}}}}


@pytest.mark.parametrize(
    ("chat", "problem"),
    [
        ({}, "expected messages"),
        ({"messages": []}, "expected messages"),
        ({"messages": "Hello"}, "expected messages"),
        ({"messages": ASKED}, "last message must be the assistant's"),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, "after at least one other message"),
        ({"messages": [{"role": "robot", "content": "Hello"}]}, "message 1: expected an object with a role"),
        ({"messages": [*ASKED, "Hello"]}, "message 2: expected an object with a role"),
        ({"messages": [{"role": "user", "content": " "}]}, "message 1: content"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "message 1: content"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, "only the assistant's"),
        ({"messages": [*ASKED, {"role": "assistant", "tool_calls": ["tide"]}]}, "message 2, call 1"),
        ({"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"name": "tide"}}]}]}, "arguments: expected an object"),
        (
            {"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"name": "tide", "arguments": "{"}}]}]},
            "arguments: not valid JSON",
        ),
        ({**CHATS[0], "tools": "tide"}, "tools: expected a list"),
        ({**CHATS[0], "tools": ["tide"]}, "tools: expected a function with a name"),
        ({**CHATS[0], "tools": [{"type": "web_search"}]}, "tools: expected a function with a name"),
        ({**CHATS[0], "response_format": "json"}, "response_format: expected an object"),
        ({**CHATS[0], "show_schema": "yes"}, "show_schema: expected true or false"),
        ({**CHATS[0], "response_format": {"type": "json_schema"}}, "response_format: expected OpenAI's shape"),
        ({**CHATS[0], "response_format": {"type": "xml"}}, "response_format: expected a type"),
        ({**CHATS[0], "response_format": {"type": "json_object"}}, "not the JSON that its response_format asks for"),
        ({**CHATS[0], "response_format": {"type": "choice", "choices": ["low"]}}, "none of the choices"),
        ({**CHATS[1], "tools": []}, "the answer calls 'tide', and the tools offered are: none"),
        ({**CHATS[0], "tool": [TOOL]}, "has a field 'tool'; did you mean 'tools'?"),
        (
            {
                **CHATS[1],
                "messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"name": "tide", "arguments": {"port": 7}}}]}],
            },
            "the call of 'tide' does not fit its schema: at $.port",
        ),
        (
            {"messages": [*ASKED, {"role": "assistant", "content": '{"level": "x"}'}], "response_format": LEVEL},
            "the answer does not fit its schema: at $.level",
        ),
        (
            {
                "messages": [
                    *ASKED,
                    {"role": "tool", "content": "3 m", "tool_call_id": "elsewhere"},
                    {"role": "assistant", "content": "3 m"},
                ]
            },
            "message 2: tool_call_id: no call before it has the id 'elsewhere'",
        ),
        ({"messages": [*ASKED, {"role": "assistant", "content": "half \ud83d"}]}, "half a character"),
    ],
)
def test_a_line_that_is_no_chat_is_named_with_what_is_wrong(tmp_path: Path, chat: dict[str, Any], problem: str) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(map(json.dumps, [CHATS[0], chat])), encoding="utf-8")

    with pytest.raises(TrainingDataError) as caught:
        read_chats(file)

    assert "line 2" in str(caught.value)
    assert problem in str(caught.value)


def test_a_chat_that_is_too_long_is_named() -> None:
    with pytest.raises(TrainingDataError, match=r"row 2 takes \d+ tokens, more than 80"):
        chat_examples(tiny_model(), [Chat.of(CHATS[0]), Chat.of(CHATS[1])], max_tokens=80, source="chats")


def test_a_chat_of_a_file_that_is_too_long_is_named_by_its_line_even_where_others_were_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(map(json.dumps, CHATS[:2])), encoding="utf-8")

    with pytest.raises(TrainingDataError, match=r"chats.jsonl, line 2: takes \d+ tokens"):
        chat_examples(tiny_model(), read_chats(file)[1:], max_tokens=80, source="chats")


def test_numbers_in_arguments_stay_numbers(tmp_path: Path) -> None:
    """Labels of rows are read as text; what a tool is given is not."""
    file = tmp_path / "chats.jsonl"
    call = {"function": {"name": "tide", "arguments": {"port": "Brest", "hours": 3, "height": 1.5}}}
    row = {"messages": [*ASKED, {"role": "assistant", "tool_calls": [call]}], "tools": [TOOL]}
    file.write_text(json.dumps(row), encoding="utf-8")

    (chat,) = read_chats(file)
    assert chat.messages[-1]["tool_calls"][0]["function"]["arguments"] == call["function"]["arguments"]
