"""ChatSoftPrompt: a LangChain chat model that answers with a soft prompt on a frozen model in this process.

Files:
    chat.py         ChatSoftPrompt: what LangChain calls
    configured.py   its fields, how they are checked, and how it names itself in caches and traces
    arguments.py    which arguments are known, at construction and per call
    binding.py      `bind` without losing what was bound
    answering.py    one request from submission to its end
    choices.py      labels to choose from; ChoiceResult
    choosing.py     one request that scores labels in place of an answer
    batching.py     batches reach the engine all at once
    leaving.py      the interpreter does not wait for batches that nobody can take any more
    shelf.py        soft prompts loaded in this process
    errors.py       our errors as members of LangChain's error family too
    ports.py        what is asked of an engine
"""

from __future__ import annotations

from langchain_softprompt.chat_models.chat import ChatSoftPrompt
from langchain_softprompt.chat_models.choices import ChoiceResult
from langchain_softprompt.chat_models.errors import NotYetSupportedError, RequestTimeoutError, UnknownArgumentError

__all__ = ["ChatSoftPrompt", "ChoiceResult", "NotYetSupportedError", "RequestTimeoutError", "UnknownArgumentError"]
