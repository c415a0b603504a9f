"""A model with another soft prompt, whatever it is wrapped in."""

from __future__ import annotations

from typing import Any

from langchain_core.load import Serializable
from langchain_core.runnables import RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable

from langchain_softprompt.errors import SoftPromptChoiceError


def can_wear(model: Any) -> bool:
    """Whether it is a `ChatSoftPrompt`, or one in LangChain's wrapping."""
    if isinstance(model, RunnableBindingBase):
        return can_wear(model.bound)
    return hasattr(model, "with_soft_prompt")  # LangChain's other wrappers hand unknown names on to the model inside.


def with_soft_prompt(model: Any, soft_prompt: Any) -> Any:
    """The model with that soft prompt, wrapped as it was.

    The soft prompt goes into the model, not into the arguments of the call: whatever a later step makes of the model,
    `bind_tools`, structured output or a fallback to another one, can neither lose it nor send it to a stranger. Of
    a model with fallbacks it is the first that wears it.

    Raises:
        SoftPromptChoiceError: The model is wrapped in something that would lose the choice.
    """
    if isinstance(model, RunnableBindingBase):
        kwargs = {name: value for name, value in model.kwargs.items() if name != "soft_prompt"}
        return model.model_copy(update={"bound": with_soft_prompt(model.bound, soft_prompt), "kwargs": kwargs})
    if isinstance(model, RunnableWithFallbacks):
        return model.model_copy(update={"runnable": with_soft_prompt(model.runnable, soft_prompt)})
    # Asked of the class: another wrapper's answer would be the model inside without its wrapping. What a config has yet to choose
    # would contradict the pick.
    if callable(getattr(type(model), "with_soft_prompt", None)) and not isinstance(model, DynamicRunnable):
        return model.with_soft_prompt(soft_prompt)
    name = model.lc_id()[-1] if isinstance(model, Serializable) else type(model).__name__
    msg = (
        f"The agent's model is wrapped in a {name}, where a soft prompt picked for one call would be lost. "
        "Give the agent the ChatSoftPrompt itself, and let the middleware pick by by_context(...)."
    )
    raise SoftPromptChoiceError(msg)
