"""What identifies a model of ours in caches and traces: its weights, its settings, and the content of its soft prompt."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.load import dumpd
from typing_extensions import override

from langchain_softprompt import hub
from langchain_softprompt.calls.arguments import SoftPromptChoice, short
from langchain_softprompt.calls.configured import Configured
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.calls.ports import is_bindable
from langchain_softprompt.calls.shelf import SHELF, is_local
from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.messages import PROVIDER, encode_text, soft_prompt_facts
from langchain_softprompt.refs import SoftPromptRef

if TYPE_CHECKING:
    from langchain_softprompt.calls.ports import EnginePort


class Named(Configured):
    """What identifies a model of ours."""

    def _named(self, stop: list[str] | None, arguments: Mapping[str, Any], soft_prompt: SoftPromptChoice) -> dict[str, Any]:
        """Everything an answer depends on, in plain values."""
        settings = self._settings(arguments)
        facts = _facts_of_name(soft_prompt) if isinstance(soft_prompt, str | Path) else soft_prompt_facts(soft_prompt)
        if soft_prompt is not None and not isinstance(soft_prompt, str | Path) and soft_prompt.drop_default_system:
            facts["drop_default_system"] = True
        return {
            "model": str(self.model),
            "revision": self.revision,
            "gguf_file": self.gguf_file,
            "dtype": self.dtype,
            "device": self.device,
            "quantization": self.quantization,
            **facts,
            "allow_other_model": arguments.get("allow_other_model", self.allow_other_model),
            "temperature": settings.temperature,
            "max_tokens": settings.max_new_tokens,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "min_p": settings.min_p,
            "repetition_penalty": settings.repetition_penalty,
            "seed": settings.seed,
            "top_logprobs": settings.top_logprobs,
            "stop": list(self._stop(stop)) or None,
        }

    def _model_identity(self) -> str:
        """The weights an answer comes from; a model's name alone would outlive a change of the files behind it."""
        with in_langchain_family():
            return self._engine().model.fingerprint

    def _engine(self) -> EnginePort:
        if self.engine is not None:
            if is_bindable(self.engine):  # It serves elsewhere, and is told here what it serves.
                return self.engine.for_model(self.model, revision=self.revision, gguf_file=self.gguf_file)
            return self.engine
        from langchain_softprompt.engine import get_engine  # brings in torch, so not before the first call

        return get_engine(self.model, **self._variant(), limits=self.engine_limits)

    def _engine_at_hand(self) -> EnginePort | None:
        """The engine, if it is loaded; nothing is loaded for it, and nobody waits."""
        if is_bindable(self.engine) and not self.engine.bound:
            return None
        registry = sys.modules.get("langchain_softprompt.engine.registry")
        if self.engine is not None or registry is None:
            return self.engine
        return cast("EnginePort | None", registry.peek_engine(self.model, **self._variant()))

    def _variant(self) -> dict[str, Any]:
        """Which weights of the model, and how they are held: with its name, what an engine is known by."""
        return {
            "revision": self.revision,
            "gguf_file": self.gguf_file,
            "dtype": self.dtype,
            "device": self.device,
            "quantization": self.quantization,
        }

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text; loads the model."""
        own: Any = self.custom_get_token_ids  # type: ignore[attr-defined]
        if own is not None:
            return cast("list[int]", own(text))
        with in_langchain_family():
            return encode_text(self._engine().model.tokenizer, text)

    def _traced(self, kind: str, named: Mapping[str, Any], model: Any) -> dict[str, Any]:
        """What LangSmith and LangGraph are told of a call."""
        params: dict[str, Any] = {
            "ls_provider": PROVIDER,
            "ls_model_type": kind,
            "ls_model_name": str(model or self.model),
            "ls_temperature": named.get("temperature"),
            "ls_max_tokens": named.get("max_tokens"),
            "ls_stop": named.get("stop"),
            "softprompt_source": named.get("soft_prompt"),
            "softprompt_revision": named.get("soft_prompt_revision"),
            "softprompt_hash": named.get("soft_prompt_hash"),
            "softprompt_type": named.get("soft_prompt_type"),
            "softprompt_num_virtual_tokens": named.get("num_virtual_tokens"),
        }
        return {name: value for name, value in params.items() if value is not None}

    @property
    def _serialized(self) -> dict[str, Any]:
        # LangChain keeps this on the instance, where a copy with another soft prompt would inherit it.
        return cast("dict[str, Any]", dumpd(self))

    @override
    def __repr_args__(self) -> Any:
        return [(name, short(value) if name == "soft_prompt" else value) for name, value in super().__repr_args__()]

    def _soft_prompt_at_hand(self, arguments: Mapping[str, Any]) -> SoftPromptChoice:
        """The soft prompt if no network is needed for it, else its name. Traces ask; they must not raise or block."""
        try:
            choice = self._choice(arguments)
            if not isinstance(choice, str | Path):
                return choice
            if not _in_event_loop() and is_local(choice):
                return SHELF.get(choice)
            return SHELF.peek(choice) or choice
        except SoftPromptError:
            return str(arguments.get("soft_prompt", self.soft_prompt))


def _facts_of_name(name: str | Path) -> dict[str, Any]:
    """What can be told of a soft prompt that is not loaded yet, asking nobody."""
    try:
        commit = hub.commit_at_hand(SoftPromptRef.parse(name), from_memory=_in_event_loop())
    except SoftPromptError:  # the call will say it
        commit = None
    return {"soft_prompt": str(name), **({"soft_prompt_revision": commit} if commit is not None else {})}


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
