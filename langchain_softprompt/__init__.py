"""Soft prompts for LangChain: train, judge, share and serve them on one frozen model.

The names below are the whole public surface. They are loaded when first asked for, so that
``import langchain_softprompt`` stays light and loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "ChatSoftPrompt",
    "Engine",
    "EngineLimits",
    "FrozenModel",
    "GenerationSettings",
    "SoftPrompt",
    "SoftPromptLLM",
    "TrainingSettings",
    "errors",
    "train",
]

if TYPE_CHECKING:
    from langchain_softprompt import errors
    from langchain_softprompt.chat_models import ChatSoftPrompt
    from langchain_softprompt.engine import Engine
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.llms import SoftPromptLLM
    from langchain_softprompt.settings import EngineLimits, GenerationSettings, TrainingSettings
    from langchain_softprompt.soft_prompt import SoftPrompt
    from langchain_softprompt.training.train import train
else:
    _MODULE_OF = {
        "ChatSoftPrompt": "chat_models",
        "Engine": "engine",
        "EngineLimits": "settings",
        "FrozenModel": "frozen_model",
        "GenerationSettings": "settings",
        "SoftPrompt": "soft_prompt",
        "SoftPromptLLM": "llms",
        "TrainingSettings": "settings",
        "train": "training",
    }

    def __getattr__(name):
        from importlib import import_module

        if name in _MODULE_OF:
            value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        elif name == "errors":
            value = import_module(f"{__name__}.errors")
        else:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        globals()[name] = value  # asked for once, found without this function from then on
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
