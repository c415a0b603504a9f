"""Which arguments are known. An unknown one is never dropped: a misspelt soft prompt would let the bare model answer."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables import RunnableConfig, ensure_config

from langchain_softprompt.calls.errors import UnknownArgumentError, in_langchain_family
from langchain_softprompt.calls.response_format import read_response_format
from langchain_softprompt.errors import InvalidReferenceError, InvalidSettingsError
from langchain_softprompt.refs import SoftPromptRef

if TYPE_CHECKING:
    from langchain_softprompt.soft_prompt import SoftPrompt

    SoftPromptChoice: TypeAlias = str | Path | SoftPrompt | None
else:  # naming the class here would bring in torch
    SoftPromptChoice = Any

ALIASES = {"model_name": "model", "max_new_tokens": "max_tokens"}

SETTING_NAMES = ("temperature", "max_tokens", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
_OWN = {
    *(*SETTING_NAMES, "max_new_tokens", "soft_prompt", "allow_other_model", "timeout", "stop"),
    *("logprobs", "top_logprobs", "choices", "parallel_tool_calls", "show_schema", "allow_invalid"),
}
# What LangChain itself sends along with a call.
_FROM_LANGCHAIN = {"tools", "tool_choice", "response_format", "ls_structured_output_format", "structured_output_format", "stream"}

# What others call it, too far from our word for a spelling comparison, or nearest to a wrong one; "" where we have no word for it.
_OTHER_WORDS = (
    dict.fromkeys(
        ("adapter", "adaptor", "adapter_id", "adapter_name", "adapters", "lora", "lora_request", "peft", "peft_model", "prompt_adapter"),
        "soft_prompt",
    )
    | {"max_length": "max_tokens", "stop_sequences": "stop", "stop_strings": "stop", "random_seed": "seed", "request_timeout": "timeout"}
    | {
        "num_predict": "max_tokens",
        "format": "response_format",
        "model_kwargs": "",
        "skip_prompt": "",
    }
)


def check_known(given: Iterable[str], known: Collection[str], place: str) -> None:
    """Refuse names that are not known.

    Raises:
        UnknownArgumentError: Names the first unknown argument, and the known one it is nearest to.
    """
    for name in given:
        if name not in known:
            word = name.lower()
            close = [_OTHER_WORDS[word]] if word in _OTHER_WORDS else difflib.get_close_matches(word, known, n=1, cutoff=0.6)
            near = next((known_name for known_name in close if known_name in known), None)
            hint = f"Did you mean {near!r}?" if near else f"Known are: {', '.join(sorted(known))}."
            msg = f"{place} does not know the argument {name!r}. {hint}"
            raise UnknownArgumentError(msg)


def check_call(arguments: Mapping[str, Any]) -> None:
    """Refuse what a call can't do, before anything is computed.

    Raises:
        UnknownArgumentError: An argument is not known.
        InvalidSettingsError: The response format is of no known form.
        InvalidGrammarError: Answers can't be held to the response format.
        MissingExtraError: A response format needs a package that is not installed.
    """
    if arguments.get("model") is not None or arguments.get("model_name") is not None:
        msg = "The frozen model can't be chosen per call, as ChatSoftPrompt serves one. Make a second ChatSoftPrompt(model=...)."
        raise UnknownArgumentError(msg)
    check_known(arguments, _OWN | _FROM_LANGCHAIN | {"model", "model_name"}, "A call of ChatSoftPrompt")
    with in_langchain_family():
        read_response_format(arguments.get("response_format"))


def with_full_names(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with other names for the same thing replaced.

    Raises:
        UnknownArgumentError: One argument is given under both its names.
    """
    full = dict(arguments)
    for alias, name in ALIASES.items():
        if alias in full:
            if full.get(name) is not None:
                msg = f"{alias!r} and {name!r} are the same argument. Give one of them."
                raise UnknownArgumentError(msg)
            full[name] = full.pop(alias)
    return full


def check_choice(choice: SoftPromptChoice) -> SoftPromptChoice:
    """Refuse what can't name a soft prompt; nothing is read.

    Raises:
        InvalidReferenceError: It is text of no known form, or no soft prompt at all.
    """
    if isinstance(choice, str | Path):
        SoftPromptRef.parse(choice)
    elif choice is not None and not (hasattr(choice, "content_hash") and hasattr(choice, "num_virtual_tokens")):
        msg = f"A soft prompt is a name, a path, a loaded SoftPrompt or None, not a {type(choice).__name__}."
        raise InvalidReferenceError(msg)
    return choice


def top_logprobs(asked: Any, count: Any, own: tuple[bool | None, int | None]) -> int | None:
    """How many of the likeliest tokens to tell at each place of an answer; ``None`` for no log-probabilities at all.

    Args:
        asked: What a call says under ``logprobs``; ``None`` for nothing.
        count: What it says under ``top_logprobs``.
        own: What the model says under both.

    Raises:
        InvalidSettingsError: ``logprobs`` is neither true nor false, or false beside a ``top_logprobs``.
    """
    for value in (asked, own[0]):
        if value is not None and not isinstance(value, bool):
            msg = f"logprobs: expected True, False or None, found {value!r}. How many to tell goes into top_logprobs."
            raise InvalidSettingsError(msg)
    if (asked is False and count is not None) or (own[0] is False and own[1] is not None):
        msg = "logprobs=False and top_logprobs contradict each other. Leave one of them out."
        raise InvalidSettingsError(msg)
    if asked is None and count is None:
        asked = own[0]
    count = own[1] if count is None else count
    return None if asked is False else count if asked is None else count or 0


def check_stop(stop: list[str] | tuple[str, ...] | str | None) -> tuple[str, ...]:
    """Stop strings as a tuple.

    Raises:
        InvalidSettingsError: One of them is empty or no text.
    """
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    found: tuple[Any, ...] = strings
    if not all(isinstance(string, str) and string for string in found):
        msg = f"stop: expected strings of at least one character, found {strings!r}."
        raise InvalidSettingsError(msg)
    return strings


def check_timeout(timeout: float | None) -> float | None:
    """Seconds, above 0.

    Raises:
        InvalidSettingsError: They are not.
    """
    found: Any = timeout
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if found is not None and not (is_number and 0 < found <= threading.TIMEOUT_MAX):
        msg = f"timeout: expected seconds above 0, or None, found {timeout!r}."
        raise InvalidSettingsError(msg)
    return timeout


def check_configurable(config: RunnableConfig | None, arguments: Mapping[str, Any], own: SoftPromptChoice) -> None:
    """Refuse a config that names another soft prompt than the one that will answer.

    LangChain follows ``configurable`` only in a model made by `configurable_fields`, and says nothing elsewhere.

    Raises:
        UnknownArgumentError: The config's soft prompt would have been passed over.
    """
    configurable = ensure_config(config).get("configurable") or {}
    if "soft_prompt" not in configurable or "soft_prompt" in arguments:
        return
    wanted = configurable["soft_prompt"]
    if wanted is not own and _identity(wanted) != _identity(own):
        msg = (
            f"The config's 'configurable' names soft_prompt {short(wanted)!r}, but {short(own)!r} would answer. "
            "Make the model configurable, llm.configurable_fields(soft_prompt=ConfigurableField(id='soft_prompt')), "
            "and let no prompt template carry one. If the key is meant for another step, give it another id there."
        )
        raise UnknownArgumentError(msg)


def short(choice: SoftPromptChoice) -> str:
    """A choice in few words: of a loaded soft prompt what tells it from others."""
    if choice is None or isinstance(choice, str | Path):
        return str(choice)
    return f"{choice.source} ({choice.kind}, {choice.num_virtual_tokens} virtual tokens, {choice.content_hash[:12]})"


def _identity(choice: Any) -> tuple[str, str]:
    """A loaded soft prompt is told by its content: two of one source and shape look alike as text."""
    content = getattr(choice, "content_hash", None)
    return ("content", content) if content is not None else ("name", str(choice))
