"""ToolFormat: how a family of models writes tool calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.tool_calls.bodies import json_calls, named_json_calls, python_calls, xml_calls
from langchain_softprompt.tool_calls.gemma import gemma_calls, gemma_text
from langchain_softprompt.tool_calls.pieces import ToolCall


@dataclass(frozen=True, slots=True)
class Frame:
    """How calls that are JSON objects are put into text. An answer that has to be a call is held to it.

    Attributes:
        before: Text before the first call.
        between: Text between two calls.
        after: Text after the last call.
        arguments: The key of the arguments, beside ``name``.
    """

    before: str
    between: str
    after: str
    arguments: str = "arguments"

    def write(self, calls: Sequence[ToolCall]) -> str:
        """Calls as text."""
        said = [json.dumps({"name": call.name, self.arguments: dict(call.arguments)}, ensure_ascii=False) for call in calls]
        return self.before + self.between.join(said) + self.after


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a family of models writes tool calls. Make one for a family that is not known here; see `register_tool_format`.

    Attributes:
        name: What it is called.
        opening: The mark before a call; empty for models that write nothing but the call.
        closing: The mark after it; empty where a call goes to the end of the answer or to the next opening mark.
        read: From the text between the marks its calls; raises ``ValueError`` where it is none.
        write: Calls as text, marks included, for chat templates that leave calls out.
        frame: How an answer is written that has to be a call, as JSON.
        signs: Text that chat templates of the family hold. It is a family's when one of them is there.
    """

    name: str
    opening: str
    closing: str
    read: Callable[[str], Sequence[ToolCall]]
    write: Callable[[Sequence[ToolCall]], str]
    frame: Frame
    signs: tuple[str, ...] = ()


_BARE = Frame("", "\n", "")
_HERMES = Frame("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
_SMOL = Frame("<tool_call>[", ", ", "]</tool_call>")
_MISTRAL = Frame("[TOOL_CALLS][", ", ", "]")
_LLAMA = Frame("", "; ", "", arguments="parameters")
_LLAMA_SIGNS = ("<|python_tag|>", "<|eom_id|>", '"parameters": dictionary')
_GEMMA4, _FUNCTION_GEMMA = '<|"|>', "<escape>"


def _xml_text(calls: Sequence[ToolCall]) -> str:
    return "\n".join(
        f"<tool_call>\n<function={call.name}>\n"
        + "".join(
            f"<parameter={key}>\n{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n</parameter>\n"
            for key, value in call.arguments.items()
        )
        + "</function>\n</tool_call>"
        for call in calls
    )


# The more particular sign first.
_KNOWN = [
    ToolFormat("mistral", "[TOOL_CALLS]", "", named_json_calls, _MISTRAL.write, _MISTRAL, ("[TOOL_CALLS]",)),
    ToolFormat(
        "gemma4",
        "<|tool_call>",
        "<tool_call|>",
        gemma_calls(_GEMMA4),
        partial(gemma_text, quote=_GEMMA4, opening="<|tool_call>", closing="<tool_call|>"),
        _BARE,
        ("<|tool_call>",),
    ),
    ToolFormat(
        "functiongemma",
        "<start_function_call>",
        "<end_function_call>",
        gemma_calls(_FUNCTION_GEMMA),
        partial(gemma_text, quote=_FUNCTION_GEMMA, opening="<start_function_call>", closing="<end_function_call>"),
        _BARE,
        ("<start_function_call>",),
    ),
    ToolFormat("qwen-coder", "<tool_call>", "</tool_call>", xml_calls, _xml_text, _HERMES, ("<function=",)),
    ToolFormat("hermes", "<tool_call>", "</tool_call>", json_calls, _HERMES.write, _HERMES, ("<tool_call>",)),
    ToolFormat(
        "llama3", "<|python_tag|>", "", python_calls, _LLAMA.write, _LLAMA, ("<|python_tag|>", "<|eom_id|>", '"parameters": dictionary')
    ),
    ToolFormat("smollm2", "<tool_call>", "</tool_call>", json_calls, _SMOL.write, _SMOL, ("named SmolLM",)),
    ToolFormat("json", "", "", python_calls, _BARE.write, _BARE),
]
KNOWN_FORMATS: dict[str, ToolFormat] = {known.name: known for known in _KNOWN}
"""The formats there are, by name; looked through in this order, those added by users first."""


def register_tool_format(tool_format: ToolFormat, *, replace: bool = False) -> None:
    """Make a format known, so that chat templates with its signs are read by it.

    Args:
        tool_format: The format.
        replace: Take the place of one that has its name.

    Raises:
        InvalidSettingsError: There is one of its name already.
    """
    if tool_format.name in KNOWN_FORMATS and not replace:
        msg = f"A tool format named {tool_format.name!r} is known already. Choose another name, or pass replace=True."
        raise InvalidSettingsError(msg)
    rest = {name: known for name, known in KNOWN_FORMATS.items() if name != tool_format.name}
    KNOWN_FORMATS.clear()
    KNOWN_FORMATS.update({tool_format.name: tool_format, **rest})


__all__ = ["KNOWN_FORMATS", "Frame", "ToolFormat", "register_tool_format"]
