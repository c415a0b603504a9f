"""ChatSoftPrompt: a LangChain chat model that answers with a soft prompt on a frozen model in this process.

What it shares with `llms` is in `calls`.

Files:
    chat.py         ChatSoftPrompt: what LangChain calls
    entering.py     how a call comes in: which soft prompt its messages, its config and its arguments name
    composing.py    what is made of it: bindings, tools, structured output, choices
    naming.py       how it names itself in caches, traces and profiles
    wrapping.py     LangChain's wrappings of it, without losing what was said before
    speaking.py     the text of an answer becomes a message, with tool calls taken out of it
    tool_calling.py from a call's arguments to the tools that are offered
    holding.py      what a call's answer is held to: a call of a tool, a format, or either
    structured.py   `with_structured_output`
    schemas.py      the kinds of schema it takes
    typed_dicts.py  one of them, in LangChain's manner and beyond
    parsing.py      what a held answer means
    choices.py      labels to choose from; ChoiceResult
    choosing.py     one request that scores labels in place of an answer
"""

from __future__ import annotations

from langchain_softprompt.calls.errors import RequestTimeoutError, UnknownArgumentError
from langchain_softprompt.chat_models.chat import ChatSoftPrompt
from langchain_softprompt.chat_models.choices import ChoiceResult

__all__ = ["ChatSoftPrompt", "ChoiceResult", "RequestTimeoutError", "UnknownArgumentError"]
