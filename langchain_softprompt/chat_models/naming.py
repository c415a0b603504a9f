"""How a ChatSoftPrompt names itself in caches, traces and profiles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from pydantic import Field, SkipValidation
from typing_extensions import override

from langchain_softprompt import grammars
from langchain_softprompt.calls.arguments import SETTING_NAMES
from langchain_softprompt.calls.configured import AutoProfile
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.calls.naming import Named
from langchain_softprompt.calls.shelf import SHELF
from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.tool_calls import ToolFormat, find_format

if TYPE_CHECKING:
    from langchain_softprompt.calls.ports import EnginePort


class NamedChat(Named, BaseChatModel):
    """What a `ChatSoftPrompt` says of itself."""

    tool_format: SkipValidation[str | ToolFormat | None] = Field(default=None, repr=False)
    """How the model writes tool calls, as a name among `tool_calls.KNOWN_FORMATS` or a format of yours; ``None`` goes by its template."""

    chat_template: str | None = Field(default=None, repr=False)
    """How messages become a prompt, as a Jinja template in transformers' form; ``None`` takes the model's own."""

    reasoning: bool | None = None
    """Whether what stands between ``<think>`` marks at the head of an answer is told from its text, as ``reasoning_content`` and as
    a reasoning block; ``None`` goes by the chat template."""

    @override
    def _check(self) -> None:
        super()._check()
        find_format(self.tool_format, None)

    @property
    @override
    def _llm_type(self) -> str:
        return "softprompt-chat"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return self._named(None, {}, self._soft_prompt_at_hand({}))

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, checked as at construction; it shares the engine."""
        copied = super().model_copy(update=update, deep=deep)
        if isinstance(copied.profile, AutoProfile) and "profile" not in (update or {}):
            copied.profile = copied._resolve_model_profile()  # noqa: SLF001 - one of us
        return copied

    @override
    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        rest = {name: value for name, value in kwargs.items() if name != "soft_prompt"}
        try:
            named = self._named(stop, kwargs, self._soft_prompt_at_hand(kwargs))
        except SoftPromptError:  # The call itself will raise it, with callbacks that know of the run.
            named = {}
        return {**rest, **named, "_type": self._llm_type}

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The LLM cache's key: soft prompts are told apart by content, so that none is answered for by another."""
        with in_langchain_family():
            named = self._named(stop, kwargs, self._soft_prompt(kwargs))
        known = {*SETTING_NAMES, "max_new_tokens", "soft_prompt", "allow_other_model", "timeout", "stream", "logprobs", "top_logprobs"}
        rest = {name: value for name, value in kwargs.items() if name not in known}
        if self.chat_template is not None:
            rest["chat_template"] = self.chat_template
        if self.reasoning is not None:
            rest["reasoning"] = self.reasoning
        if rest.get("tools"):
            rest["tools"] = json.dumps(rest["tools"], default=repr)  # properties come in the schema's order, so it is part of the key
            rest["tool_format"] = getattr(self.tool_format, "name", self.tool_format)
        if rest.get("response_format") is not None:  # in its order, too
            rest["response_format"] = json.dumps(rest["response_format"], default=repr)
        return json.dumps([self._llm_type, named, self._model_identity(), rest], sort_keys=True, default=repr)

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return cast("LangSmithParams", self._traced("chat", self._get_invocation_params(stop, **kwargs), kwargs.get("model")))

    @override
    def _engine(self) -> EnginePort:
        engine = super()._engine()
        if isinstance(self.profile, AutoProfile) and "max_input_tokens" not in self.profile:  # by now the model is loaded
            self.profile.update(cast("AutoProfile", self._resolve_model_profile()))
        return engine

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        profile = AutoProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=False,
            audio_inputs=False,
            video_inputs=False,
            tool_calling=True,
            tool_call_streaming=True,
            tool_choice=grammars.available(),
            structured_output=grammars.available(),
            reasoning_output=False,
            open_weights=True,
        )
        engine = self._engine_at_hand()
        window = engine.model.max_positions if engine is not None else None
        if window is not None:
            choice = self.soft_prompt if not isinstance(self.soft_prompt, str | Path) else SHELF.peek(self.soft_prompt)
            profile["max_input_tokens"] = window - (choice.num_virtual_tokens if choice is not None else 0)
        return cast("ModelProfile", profile)
