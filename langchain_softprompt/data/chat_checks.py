"""ChatChecks: one line of a file of chats, while it is checked; what is wrong with it is told with its place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_softprompt.errors import InvalidGrammarError, TrainingDataError
from langchain_softprompt.grammars import why_invalid

if TYPE_CHECKING:
    from langchain_softprompt.chats import PlainMessage
    from langchain_softprompt.data.chats import Chat

FIELDS = ("messages", "tools", "response_format", "show_schema")
_ROLES = ("system", "user", "assistant", "tool")
_FORMATS = ("text", "json_object", "json_schema", "choice", "grammar")


@dataclass(frozen=True, slots=True)
class ChatChecks:
    """One line, while it is checked; each method raises `TrainingDataError` where something is wrong.

    Attributes:
        source: The file.
        line: The line; ``None`` where there is none.
    """

    source: str
    line: int | None

    def refuse(self, problem: str) -> NoReturn:
        """Say what is wrong."""
        raise TrainingDataError(self.source, self.line, f"{problem}.")

    def known(self, row: Mapping[str, Any]) -> None:
        """Other fields are nobody's business, unless they look like a slip of the pen."""
        for name in row:
            near = difflib.get_close_matches(str(name), FIELDS, n=1, cutoff=0.8)
            if name not in FIELDS and near:
                self.refuse(f"has a field {name!r}; did you mean {near[0]!r}?")

    def answer(self, chat: Chat, names: Collection[str]) -> None:
        """The answer is one that could be given under these tools and this format."""
        last, response_format = chat.messages[-1], chat.response_format or {}
        for call in last.get("tool_calls", ()):
            if call["function"]["name"] not in names:
                offered = ", ".join(sorted(names)) or "none"
                self.refuse(f"the answer calls {call['function']['name']!r}, and the tools offered are: {offered}")
            self.fits(call["function"]["arguments"], _parameters(chat, call["function"]["name"]), f"call of {call['function']['name']!r}")
        kind = response_format.get("type", "text")
        if kind not in _FORMATS:
            self.refuse(f"response_format: expected a type, one of {', '.join(_FORMATS)}, found {shown(kind)}")
        if last.get("tool_calls"):
            return
        if kind == "choice" and last["content"] not in response_format["choices"]:
            self.refuse(f"the answer {shown(last['content'])} is none of the choices of its response_format")
        if kind in ("json_object", "json_schema"):
            try:
                value = json.loads(last["content"])
            except ValueError as error:
                self.refuse(f"the answer is not the JSON that its response_format asks for: {error}")
            if kind == "json_object" and not isinstance(value, dict):
                self.refuse(f"the answer is not the JSON object that its response_format asks for, but {shown(value)}")
            if kind == "json_schema":
                self.fits(value, response_format["json_schema"].get("schema"), "answer")

    def fits(self, value: Any, schema: Any, what: str) -> None:
        """A soft prompt that learns what its own schema forbids would be held back by the grammar when it serves."""
        if not isinstance(schema, Mapping) or find_spec("jsonschema") is None:
            return
        try:
            problem = why_invalid(json.dumps(value), json.dumps(schema))
        except InvalidGrammarError as error:
            problem = str(error).rstrip(".")
        if problem is not None:
            self.refuse(f"the {what} does not fit its schema: {problem}")

    def answers_calls(self, messages: Sequence[PlainMessage]) -> None:
        """A tool's message answers a call that stands before it."""
        called: set[str] = set()
        for number, message in enumerate(messages, start=1):
            called.update(call["id"] for call in message.get("tool_calls", ()))
            if message["role"] == "tool" and message.get("tool_call_id") is not None and message["tool_call_id"] not in called:
                self.refuse(f"message {number}: tool_call_id: no call before it has the id {message['tool_call_id']!r}")

    def message(self, message: Any, number: int) -> PlainMessage:
        """A message as chat templates read it."""
        where = f"message {number}"
        if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
            self.refuse(f"{where}: expected an object with a role, one of {', '.join(_ROLES)}, found {shown(message)}")
        calls = message.get("tool_calls") or ()
        content = message.get("content")
        content = "" if content is None and calls else content
        if not isinstance(content, str) or not (content.strip() or calls):
            self.refuse(f"{where}: content: expected text that is not empty, found {shown(content)}")
        try:
            content.encode()
        except UnicodeEncodeError as error:
            self.refuse(f"{where}: content: half a character ({content[error.start]!r})")
        plain: PlainMessage = {"role": message["role"], "content": content}
        for name in ("name", "tool_call_id"):
            if message.get(name) is not None:
                plain[name] = str(message[name])
        if calls:
            if message["role"] != "assistant" or not isinstance(calls, Sequence):
                self.refuse(f"{where}: tool_calls: only the assistant's messages have them, as a list")
            plain["tool_calls"] = [self.call(call, f"{where}, call {at}") for at, call in enumerate(calls, start=1)]
        return plain

    def call(self, call: Any, where: str) -> dict[str, Any]:
        """A tool call as chat templates read it."""
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            self.refuse(f"{where}: expected {{'function': {{'name': ..., 'arguments': ...}}}}, found {shown(call)}")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError as error:
                self.refuse(f"{where}: arguments: not valid JSON: {error}")
        if not isinstance(arguments, Mapping):
            self.refuse(f"{where}: arguments: expected an object, or one written as JSON, found {shown(arguments)}")
        identifier = call.get("id") or where.replace(" ", "")
        return {"type": "function", "id": str(identifier), "function": {"name": function["name"], "arguments": arguments}}


def _parameters(chat: Chat, name: str) -> Any:
    """The schema of a tool's arguments, as the tool says it."""
    functions = [tool.get("function") for tool in chat.tools if isinstance(tool, Mapping)]
    return next((one.get("parameters") for one in functions if isinstance(one, Mapping) and one.get("name") == name), None)


def shown(value: Any) -> str:
    """A value in few words."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


__all__ = ["FIELDS", "ChatChecks", "shown"]
