"""`bind` without losing what was bound.

LangChain's own binding hands `bind_tools` and its like to the bare model, so that what was bound before is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableBinding
from typing_extensions import override

from langchain_softprompt.calls.arguments import SoftPromptChoice, check_call
from langchain_softprompt.chat_models.choices import Labels, Normalize
from langchain_softprompt.chat_models.choosing import choose_with
from langchain_softprompt.chat_models.structured import structured_output
from langchain_softprompt.chat_models.tool_calling import tool_use


class SoftPromptBinding(RunnableBinding[LanguageModelInput, AIMessage]):
    """A `ChatSoftPrompt` with arguments for each call. The soft prompt is never among them: it is part of the model."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        """Told apart from a plain binding by Python alone."""
        return [*cls.get_lc_namespace(), "RunnableBinding"]

    @override
    def bind(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind further arguments; a soft prompt among them gives a binding of another model."""
        check_call(kwargs)
        bound = self.bound
        if "soft_prompt" in kwargs and hasattr(bound, "with_soft_prompt"):
            bound = bound.with_soft_prompt(kwargs.pop("soft_prompt"))
        return self._rebind(bound, {**self.kwargs, **kwargs})

    def with_soft_prompt(self, soft_prompt: SoftPromptChoice) -> Runnable[LanguageModelInput, AIMessage]:
        """The same binding of the model with another soft prompt."""
        return self.bind(soft_prompt=soft_prompt)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        """The model's own `bind_tools`, with what was bound before."""
        return self.bound.bind_tools(tools, **{**self.kwargs, **kwargs})  # type: ignore[attr-defined]

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
        """The model's own `with_structured_output`, with what was bound before."""
        return structured_output(self, schema, **kwargs)

    def with_choices(self, labels: Labels, *, normalize: Normalize = "sum", include_raw: bool = False, **kwargs: Any) -> Any:
        """The model's own `with_choices`, with what was bound before and the config."""
        return choose_with(self, labels, normalize=normalize, include_raw=include_raw, **kwargs)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The model's own count, with the tools that are bound."""
        offered = tool_use(self.kwargs).offered if tools is None else tools
        return int(self.bound.get_num_tokens_from_messages(messages, offered))  # type: ignore[attr-defined]

    def _rebind(self, bound: Any, kwargs: dict[str, Any]) -> SoftPromptBinding:
        return type(self)(
            bound=bound,
            kwargs=kwargs,
            config=self.config,
            config_factories=self.config_factories,
            custom_input_type=self.custom_input_type,
            custom_output_type=self.custom_output_type,
        )
