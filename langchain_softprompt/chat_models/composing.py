"""What is made of a chat model: bindings, tools, structured output, choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import AnyConfigurableField
from typing_extensions import override

from langchain_softprompt.calls.arguments import check_call
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.chat_models.choices import Labels, Normalize
from langchain_softprompt.chat_models.choosing import choose_with
from langchain_softprompt.chat_models.naming import NamedChat
from langchain_softprompt.chat_models.structured import structured_output
from langchain_softprompt.chat_models.tool_calling import openai_tools
from langchain_softprompt.chat_models.wrapping import SoftPromptBinding, SoftPromptConfigurable, Wrappable
from langchain_softprompt.chats import ToolUse


class ComposableChat(Wrappable, NamedChat):
    """A chat model that others are made of, without losing what was said before."""

    @override
    def bind(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:  # type: ignore[override]
        """Bind arguments to every call.

        Returns:
            With a soft prompt among them, a real chat model that has it, so that no later step can lose it.
        """
        check_call(kwargs)
        model = self.with_soft_prompt(kwargs.pop("soft_prompt")) if "soft_prompt" in kwargs else self
        return model if model is not self and not kwargs else SoftPromptBinding(bound=model, kwargs=kwargs)

    @override
    def configurable_fields(self, **kwargs: AnyConfigurableField) -> SoftPromptConfigurable:
        """Let a call's config name fields, the soft prompt among them."""
        made: Any = super().configurable_fields(**kwargs)
        return SoftPromptConfigurable(default=made.default, fields=made.fields)

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        parallel_tool_calls: bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools in every call.

        Args:
            tools: Functions, LangChain tools, Pydantic classes, TypedDicts or JSON schemas.
            tool_choice: ``"auto"`` or ``None``: the model decides. ``"any"``, ``"required"`` or ``True``: it has to call one.
                A tool's name, or a dictionary with it: that one. ``"none"``: none is offered. Whatever has to be called is
                held to the tools' schemas by a grammar, for which the extra ``structured`` is needed.
            parallel_tool_calls: ``False`` for one call at most.
            strict: Passed on to the schemas. An answer that has to be a call always follows them.
            **kwargs: Bound to every call.

        Raises:
            InvalidSettingsError: A tool can't be described to a model, or the choice names none of them.
        """
        with in_langchain_family():
            offered = openai_tools(tools, strict=strict)
            ToolUse.of(offered, tool_choice, parallel=parallel_tool_calls)
        bound = {"tools": offered, "tool_choice": tool_choice, "parallel_tool_calls": parallel_tool_calls}
        return self.bind(**{name: value for name, value in bound.items() if value is not None}, **kwargs)

    @override
    def with_structured_output(
        self,
        schema: Any,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Hold answers to a schema, token by token, and read them. Needs the extra ``structured``.

        Args:
            schema: A Pydantic class, a ``TypedDict`` class, a JSON schema, an ``Enum`` class, a ``Literal``, or a compiled
                regular expression, which the whole answer then matches. ``None`` for any JSON object, with ``json_mode``.
            method: Taken as other models take it; all three hold answers to the schema.
            include_raw: Give ``raw``, ``parsed`` and ``parsing_error`` in place of the value, and raise nothing for an answer
                that can't be read.
            strict: False lets objects hold more than they declare, where the schema allows it.
            **kwargs: More arguments for each call, for instance ``show_schema``.

        Returns:
            A Runnable that gives the value, or raises `AnswerFormatError` where the token limit cut the answer.

        Raises:
            InvalidGrammarError: Answers can't be held to the schema; the message names the part at fault.
            MissingExtraError: llguidance or jsonschema is not installed.
        """
        return structured_output(self, schema, method=method, include_raw=include_raw, strict=strict, **kwargs)

    def with_choices(
        self, labels: Labels, *, normalize: Normalize = "sum", include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Answer with one of some labels, all of them scored by the model.

        Nothing is sampled: the prompt is read once, every label is read after it, and the likeliest wins. Temperature,
        penalty, filters, ``max_tokens``, stop strings and ``logprobs`` have no part in it.

        Args:
            labels: Texts; or a dictionary from label to the text that it is written as; or an `Enum` class, whose values are the
                texts; or a `Literal`.
            normalize: What labels are compared by: ``"sum"``, the log-probability of the whole label, or ``"mean"``, that of
                a token in the mean, which does not favour short labels.
            include_raw: Hand out ``{"raw": AIMessage, "parsed": ChoiceResult, "parsing_error": None}``.
            kwargs: Further arguments of each call, for instance ``soft_prompt``.

        Returns:
            A chain from chat input to a `ChoiceResult`.

        Raises:
            InvalidSettingsError: There are no labels, one is empty, or two are the same. In a call: two are the same tokens.
        """
        return choose_with(self, labels, normalize=normalize, include_raw=include_raw, **kwargs)
