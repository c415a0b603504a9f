"""Rules that pick a soft prompt for a model call. A rule is a function from the request to the soft prompt, so write your own too."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.messages import HumanMessage, ToolMessage

from langchain_softprompt.calls.arguments import check_choice
from langchain_softprompt.errors import SoftPromptChoiceError

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest

    from langchain_softprompt.soft_prompt import SoftPrompt


class Keep(Enum):
    """What a rule says to leave the model as it is."""

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP = Keep.KEEP
"""Leave the model with the soft prompt that it has, or with none."""

Choice: TypeAlias = "str | Path | SoftPrompt | Keep | None"
Picker: TypeAlias = "Callable[[ModelRequest[Any]], Choice]"


class _Undeclared(Enum):
    UNDECLARED = "an error"


_UNDECLARED = _Undeclared.UNDECLARED
_Default: TypeAlias = "Choice | _Undeclared"


def by_key(key: Callable[[ModelRequest[Any]], Hashable], choices: Mapping[Any, Choice], *, default: _Default = _UNDECLARED) -> Picker:
    """Pick by what a function finds in the request.

    Args:
        key: From the request to a key of `choices`.
        choices: A soft prompt for each key. ``None`` stands for the bare frozen model, `KEEP` for the model's own.
        default: The same for every other key. Without it another key is an error.

    Raises:
        SoftPromptChoiceError: At a model call: the key is not in `choices`, and there is no default.
        InvalidReferenceError: One of the choices is no soft prompt.
    """
    return _of(choices, default, lambda request: _found(key(request), choices, default, f"{_name(key)}(request)"))


def by_phase(*, before_tools: Choice, after_tools: Choice) -> Picker:
    """One soft prompt to decide about tools, another to go on once a tool has answered.

    Args:
        before_tools: While no tool has answered since the last human message.
        after_tools: From the first tool's answer to the end of the turn, whether that answer is a result or an error.

    Raises:
        InvalidReferenceError: One of them is no soft prompt.
    """
    choices = {"before_tools": before_tools, "after_tools": after_tools}
    return _of(choices, _UNDECLARED, lambda request: choices["after_tools" if _a_tool_has_answered(request) else "before_tools"])


def by_tools(choices: Mapping[str, Choice], *, default: _Default = _UNDECLARED) -> Picker:
    """Pick by which tools the model is offered in this call.

    Args:
        choices: A soft prompt for each name of a tool. Where several of them are offered, the one named first counts.
        default: For a call that offers none of them. Without it such a call is an error.

    Raises:
        SoftPromptChoiceError: At a model call: none of the tools is offered, and there is no default.
        InvalidReferenceError: One of the choices is no soft prompt.
    """

    def pick(request: ModelRequest[Any]) -> Choice:
        offered = [_tool_name(tool) for tool in request.tools]
        named = next((name for name in choices if name in offered), None)
        if named is not None:
            return choices[named]
        return _fallen_back(default, f"None of the tools on offer ({', '.join(offered) or 'none'}) has a soft prompt", choices)

    return _of(choices, default, pick)


def by_context(name: str, choices: Mapping[Any, Choice], *, default: _Default = _UNDECLARED) -> Picker:
    """Pick by a field of the agent's runtime context, as given to ``agent.invoke(..., context=...)``.

    Args:
        name: A key of the context, or an attribute where the context is an object.
        choices: A soft prompt for each value of that field.
        default: For every other value, and where there is no such field. Without it both are errors.

    Raises:
        SoftPromptChoiceError: At a model call: the value is not in `choices` or not there, and there is no default.
        InvalidReferenceError: One of the choices is no soft prompt.
    """

    def pick(request: ModelRequest[Any]) -> Choice:
        context = getattr(request.runtime, "context", None)
        return _found(_field(context, name), choices, default, f"runtime.context {name!r}")

    return _of(choices, default, pick)


def by_state(name: str, choices: Mapping[Any, Choice], *, default: _Default = _UNDECLARED) -> Picker:
    """Pick by a field of the agent's state.

    Args:
        name: A key of the state.
        choices: A soft prompt for each value of that field.
        default: For every other value, and where there is no such field. Without it both are errors.

    Raises:
        SoftPromptChoiceError: At a model call: the value is not in `choices` or not there, and there is no default.
        InvalidReferenceError: One of the choices is no soft prompt.
    """
    return _of(choices, default, lambda request: _found(_field(request.state, name), choices, default, f"state {name!r}"))


def check(choice: Any) -> Choice:
    """What a rule gave, if it can be a soft prompt; nothing is read.

    Raises:
        InvalidReferenceError: It can't.
    """
    return choice if isinstance(choice, Keep) else check_choice(choice)


def _of(choices: Mapping[Any, Choice], default: _Default, pick: Picker) -> Picker:
    """The rule, its choices checked before anything runs."""
    for choice in (*choices.values(), *([] if isinstance(default, _Undeclared) else [default])):
        check(choice)
    return pick


def _found(key: Any, choices: Mapping[Any, Choice], default: _Default, place: str) -> Choice:
    if isinstance(key, Hashable) and key in choices:
        return choices[key]
    problem = f"{place} is not there" if key is _UNDECLARED else f"{place} is {key!r}, and no soft prompt is named for that"
    return _fallen_back(default, problem, choices)


def _fallen_back(default: _Default, problem: str, choices: Mapping[Any, Choice]) -> Choice:
    if not isinstance(default, _Undeclared):
        return default
    known = ", ".join(repr(key) for key in choices) or "nothing"
    msg = f"{problem}. Named are: {known}. Add it, or say default=... for all others (None: the bare model, KEEP: the model's own)."
    raise SoftPromptChoiceError(msg)


def _field(holder: Any, name: str) -> Any:
    return holder.get(name, _UNDECLARED) if isinstance(holder, Mapping) else getattr(holder, name, _UNDECLARED)


def _a_tool_has_answered(request: ModelRequest[Any]) -> bool:
    for message in reversed(request.messages):
        if isinstance(message, ToolMessage | HumanMessage):
            return isinstance(message, ToolMessage)
    return False


def _tool_name(tool: Any) -> str:
    """Of a tool, or of a dictionary that describes one to the model, in either of the shapes that are common."""
    if isinstance(tool, Mapping):
        function = tool.get("function")
        return str((function if isinstance(function, Mapping) else tool).get("name") or tool.get("type"))
    return str(tool.name)


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
