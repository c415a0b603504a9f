"""ChatSoftPrompt: a LangChain chat model that answers with a soft prompt on a frozen model in this process.

What it shares with `llms` is in `calls`.

Files:
    chat.py         ChatSoftPrompt: what LangChain calls
    naming.py       how it names itself in caches, traces and profiles
    binding.py      `bind` without losing what was bound
"""

from __future__ import annotations

from langchain_softprompt.calls.errors import NotYetSupportedError, RequestTimeoutError, UnknownArgumentError
from langchain_softprompt.chat_models.chat import ChatSoftPrompt

__all__ = ["ChatSoftPrompt", "NotYetSupportedError", "RequestTimeoutError", "UnknownArgumentError"]
