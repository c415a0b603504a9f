"""LangChain's wrappings of a chat model, without losing what was said before.

LangChain's own hand `bind_tools` and its like to the model inside as it stands, so that arguments, a config or a choice that
a config has yet to make are lost without a word. These are the same classes with the same behaviour, except for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import ConfigurableField, Runnable, RunnableBinding, RunnableConfig, RunnableWithFallbacks
from langchain_core.runnables.configurable import RunnableConfigurableAlternatives, RunnableConfigurableFields
from langchain_core.runnables.retry import RunnableRetry
from typing_extensions import override

from langchain_softprompt.calls.arguments import SoftPromptChoice, check_call
from langchain_softprompt.chat_models.choices import Labels, Normalize
from langchain_softprompt.chat_models.choosing import choose_with
from langchain_softprompt.chat_models.structured import structured_output
from langchain_softprompt.chat_models.tool_calling import tool_use

if TYPE_CHECKING:
    Chat = Runnable[LanguageModelInput, AIMessage]
    _Fields = RunnableConfigurableFields[LanguageModelInput, AIMessage]
    _Alternatives = RunnableConfigurableAlternatives[LanguageModelInput, AIMessage]
else:  # with parameters, pydantic would want to build the abstract class that the field `default` names
    Chat, _Fields, _Alternatives = Runnable, RunnableConfigurableFields, RunnableConfigurableAlternatives


class Wrappable(Runnable[LanguageModelInput, AIMessage]):
    """A chat model, or a wrapping of one, whose wrappings are of this module's kinds."""

    @override
    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Chat:
        """Bind a config to every call; what is bound after that is not lost either."""
        return _ours(super().with_config(config, **kwargs))

    @override
    def with_listeners(self, **listeners: Any) -> Chat:
        """Have functions called at the start and the end of every call."""
        return _ours(super().with_listeners(**listeners))

    @override
    def with_alisteners(self, **listeners: Any) -> Chat:
        """The same with asynchronous functions."""
        return _ours(super().with_alisteners(**listeners))

    @override
    def with_types(self, input_type: Any = None, output_type: Any = None) -> Chat:
        """Say other types than those that are found out."""
        return _ours(super().with_types(input_type=input_type, output_type=output_type))

    @override
    def with_retry(self, **how: Any) -> Chat:
        """Try again where a call fails."""
        return _ours(super().with_retry(**how))

    @override
    def with_fallbacks(
        self,
        fallbacks: Sequence[Runnable[LanguageModelInput, AIMessage]],
        *,
        exceptions_to_handle: tuple[type[BaseException], ...] = (Exception,),
        exception_key: str | None = None,
    ) -> SoftPromptFallbacks:
        """Ask others where a call fails."""
        return SoftPromptFallbacks(
            runnable=self, fallbacks=fallbacks, exceptions_to_handle=exceptions_to_handle, exception_key=exception_key
        )

    def configurable_alternatives(
        self,
        which: ConfigurableField,
        *,
        default_key: str = "default",
        prefix_keys: bool = False,
        **kwargs: Runnable[LanguageModelInput, AIMessage] | Callable[[], Runnable[LanguageModelInput, AIMessage]],
    ) -> SoftPromptAlternatives:
        """Let a call's config choose among this and other models."""
        alternatives: Any = kwargs
        return SoftPromptAlternatives(
            which=which, default=cast("Any", self), alternatives=alternatives, default_key=default_key, prefix_keys=prefix_keys
        )


class SoftPromptBinding(Wrappable, RunnableBinding[LanguageModelInput, AIMessage]):
    """A chat model with arguments or a config for each call. Of a chat model alone, the soft prompt is never among the arguments."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        """Told apart from a plain binding by Python alone."""
        return [*cls.get_lc_namespace(), "RunnableBinding"]

    @override
    def bind(self, **kwargs: Any) -> Chat:
        """Bind further arguments; a soft prompt among them gives a binding of another model."""
        check_call(kwargs)
        bound = self.bound
        if "soft_prompt" in kwargs and hasattr(bound, "with_soft_prompt"):
            bound = bound.with_soft_prompt(kwargs.pop("soft_prompt"))
        return self._rebind(bound, {**self.kwargs, **kwargs})

    def with_soft_prompt(self, soft_prompt: SoftPromptChoice) -> Chat:
        """The same binding of the model with another soft prompt."""
        return self.bind(soft_prompt=soft_prompt)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Chat:
        """The model's own `bind_tools`, with what was bound before; tools take the place of earlier ones."""
        earlier = {"tools", "tool_choice"} if "tools" in self.kwargs else set()
        kept = {name: value for name, value in self.kwargs.items() if name not in earlier}
        return self._rebind(*_with_tools(self.bound, tools, {**kept, **kwargs}))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """The model's own `with_structured_output`, with what was bound before."""
        if isinstance(self.bound, Several):
            return self._around(self.bound.bind(**self.kwargs).with_structured_output(schema, **kwargs))
        return structured_output(self, schema, **kwargs)

    def with_choices(
        self, labels: Labels, *, normalize: Normalize = "sum", include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """The model's own `with_choices`, with what was bound before and the config."""
        return choose_with(self, labels, normalize=normalize, include_raw=include_raw, **kwargs)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The model's own count, with the tools that are bound."""
        offered = tool_use(self.kwargs).offered if tools is None else tools
        return int(self.bound.get_num_tokens_from_messages(messages, offered))  # type: ignore[attr-defined]

    def configurable_fields(self, **kwargs: Any) -> Any:
        """The model's own `configurable_fields`, with what was bound before."""
        return self._rebind(self.bound.configurable_fields(**kwargs), dict(self.kwargs))  # type: ignore[attr-defined]

    def _rebind(self, bound: Any, kwargs: dict[str, Any]) -> SoftPromptBinding:
        return type(self)(bound=bound, kwargs=kwargs, **self._outside())

    def _around(self, chain: Any) -> Runnable[LanguageModelInput, Any]:
        outside = self._outside()
        return RunnableBinding(bound=chain, config=outside["config"], config_factories=outside["config_factories"])

    def _outside(self) -> dict[str, Any]:
        return {
            "config": self.config,
            "config_factories": self.config_factories,
            "custom_input_type": self.custom_input_type,
            "custom_output_type": self.custom_output_type,
        }


class SoftPromptConfigurable(Wrappable, _Fields):
    """A chat model some of whose fields a call's config may name, whatever is made of it."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        """As LangChain's."""
        return [*cls.get_lc_namespace(), "RunnableConfigurableFields"]

    @override
    def _prepare(self, config: RunnableConfig | None = None) -> tuple[Chat, RunnableConfig]:
        model, config = super()._prepare(config)
        configurable, key = config.get("configurable") or {}, self._key()
        if key in configurable:  # told to the model under its own name, so that a template which carries another is refused
            config = {**config, "configurable": {**configurable, "soft_prompt": cast("Any", model).soft_prompt}}
        return model, config

    @override
    def configurable_fields(self, **kwargs: Any) -> Any:
        """Let a call's config name further fields."""
        made = super().configurable_fields(**kwargs)
        return made.with_config(self.config) if self.config else made

    @override
    def bind(self, **kwargs: Any) -> Chat:
        """Bind arguments to every call; a soft prompt among them is what answers where a call's config names none."""
        check_call(kwargs)
        model = self.with_soft_prompt(kwargs.pop("soft_prompt")) if "soft_prompt" in kwargs else self
        return SoftPromptBinding(bound=model, kwargs=kwargs) if kwargs else model

    def with_soft_prompt(self, soft_prompt: SoftPromptChoice) -> Self:
        """The same with another soft prompt where a call's config names none."""
        configurable = {name: value for name, value in (self.config or {}).get("configurable", {}).items() if name != self._key()}
        config = {**self.config, "configurable": configurable} if self.config else self.config
        default: Any = self.default
        return self.model_copy(update={"default": default.with_soft_prompt(soft_prompt), "config": config})

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Chat:
        """The model's own `bind_tools`; a call's config still chooses."""
        chosen = {"soft_prompt": kwargs.pop("soft_prompt")} if "soft_prompt" in kwargs else {}
        default: Any = self.default
        return self.bind(**default.bind_tools(tools, **kwargs).kwargs, **chosen)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """The model's own `with_structured_output`; a call's config still chooses."""
        return structured_output(self, schema, **kwargs)

    def with_choices(
        self, labels: Labels, *, normalize: Normalize = "sum", include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """The model's own `with_choices`; a call's config still chooses."""
        return choose_with(self, labels, normalize=normalize, include_raw=include_raw, **kwargs)

    def _key(self) -> str | None:
        """What a config calls the soft prompt."""
        field = self.fields.get("soft_prompt")
        return field.id if field is not None else None


class Several(Wrappable):
    """Several models, one of which answers a call: what is made of them is made of each."""

    def _each(self, make: Callable[[Any], Any]) -> Any:
        raise NotImplementedError

    @override
    def bind(self, **kwargs: Any) -> Any:
        """Bind arguments to every call; a soft prompt among them goes to all models of ours, and to no other."""
        return self._each(lambda model: _bound(model, kwargs))

    def with_soft_prompt(self, soft_prompt: SoftPromptChoice) -> Any:
        """The same models, all of ours with this soft prompt."""
        return self.bind(soft_prompt=soft_prompt)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Chat:
        """Each model's own `bind_tools`."""
        return cast("Chat", self._each(lambda model: model.bind_tools(tools, **kwargs)))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Each model's own `with_structured_output`."""
        return cast("Runnable[LanguageModelInput, Any]", self._each(lambda model: model.with_structured_output(schema, **kwargs)))

    def with_choices(self, labels: Labels, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Each model's own `with_choices`."""
        given = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, dict | str | type) else labels
        return cast("Runnable[LanguageModelInput, Any]", self._each(lambda model: model.with_choices(given, **kwargs)))


class SoftPromptFallbacks(Several, RunnableWithFallbacks[LanguageModelInput, AIMessage]):
    """A chat model, and others for where it fails."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        """As LangChain's."""
        return [*cls.get_lc_namespace(), "RunnableWithFallbacks"]

    @override
    def _each(self, make: Callable[[Any], Any]) -> Self:
        return self.model_copy(update={"runnable": make(self.runnable), "fallbacks": [make(fallback) for fallback in self.fallbacks]})


class SoftPromptAlternatives(Several, _Alternatives):
    """Models among which a call's config chooses."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        """As LangChain's."""
        return [*cls.get_lc_namespace(), "RunnableConfigurableAlternatives"]

    @override
    def configurable_fields(self, **kwargs: Any) -> Any:
        """Let a call's config name fields of the default model."""
        made = super().configurable_fields(**kwargs)
        return made.with_config(self.config) if self.config else made

    @override
    def _each(self, make: Callable[[Any], Any]) -> Self:
        def later(factory: Callable[[], Any]) -> Callable[[], Any]:
            return lambda: make(factory())

        others = {key: make(model) if isinstance(model, Runnable) else later(model) for key, model in self.alternatives.items()}
        return self.model_copy(update={"default": make(self.default), "alternatives": others})


def _ours(made: Any) -> Chat:
    """What LangChain made, as one of this module's kinds."""
    if isinstance(made, Wrappable):
        return made
    if not isinstance(made, RunnableBinding):
        return SoftPromptBinding(bound=made)
    return SoftPromptBinding(
        bound=made.bound,
        kwargs=made.kwargs,
        config=made.config,
        config_factories=made.config_factories,
        custom_input_type=made.custom_input_type,
        custom_output_type=made.custom_output_type,
    )


def _with_tools(model: Any, tools: Sequence[Any], arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A model for a binding, and the binding's arguments, so that it is offered tools."""
    if isinstance(model, RunnableRetry):
        inside, bound = _with_tools(model.bound, tools, arguments)
        return model.model_copy(update={"bound": inside}), bound
    made = model.bind_tools(tools, **arguments)
    plain = isinstance(made, SoftPromptBinding) and not made.config and not made.config_factories
    return (made.bound, dict(made.kwargs)) if plain else (made, {})


def _bound(model: Any, arguments: dict[str, Any]) -> Any:
    """One of several models with arguments; a stranger's chat model is not told of a soft prompt."""
    stranger = hasattr(model, "bind_tools") and not hasattr(model, "with_soft_prompt")
    told = {name: value for name, value in arguments.items() if name != "soft_prompt"} if stranger else arguments
    return model.bind(**told) if told else model


__all__ = ["Several", "SoftPromptAlternatives", "SoftPromptBinding", "SoftPromptConfigurable", "SoftPromptFallbacks", "Wrappable"]
