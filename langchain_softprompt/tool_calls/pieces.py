"""Tool, ToolCall, BrokenCall: what is offered, what was asked for, what could not be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_softprompt.errors import InvalidSettingsError

_NAME = re.compile(r"[\w.\-]{1,128}")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that is offered.

    Attributes:
        name: What it is called by.
        description: What it is for.
        parameters: JSON schema of its arguments, an object.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @classmethod
    def of(cls, tool: Mapping[str, Any]) -> Tool:
        """From OpenAI's form, ``{"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}``.

        Raises:
            InvalidSettingsError: It is of another form, a provider's built-in tool for instance.
        """
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            msg = (
                f"tools: expected a function with a name, found {str(dict(tool))[:200]}. "
                "Tools that run at a provider (web search, code interpreters) can't be called from this machine."
            )
            raise InvalidSettingsError(msg)
        if not _NAME.fullmatch(function["name"]):
            msg = f"tools: expected a name of letters, digits, '_', '-' and '.', at most 128, found {function['name']!r}. Rename the tool."
            raise InvalidSettingsError(msg)
        parameters = function.get("parameters")
        schema = parameters if isinstance(parameters, Mapping) and parameters else {"type": "object", "properties": {}}
        return cls(function["name"], str(function.get("description") or ""), schema)

    @property
    def described(self) -> dict[str, Any]:
        """Name, description and parameters, for a prompt."""
        about = {"description": self.description} if self.description else {}
        return {"name": self.name, **about, "parameters": dict(self.parameters)}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an answer asks for.

    Attributes:
        name: The tool.
        arguments: By name.
    """

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BrokenCall:
    """Text between a call's markers that is no call.

    Attributes:
        raw: The text as it was written, marks included.
        problem: What is wrong with it.
        name: The tool, where that much could be read.
    """

    raw: str
    problem: str
    name: str | None = None


Piece: TypeAlias = str | ToolCall | BrokenCall
"""A part of an answer: text, a call, or what should have been one."""


class UnreadableCallError(ValueError):
    """Text is no call; inside this room only."""


__all__ = ["BrokenCall", "Piece", "Tool", "ToolCall", "UnreadableCallError"]
