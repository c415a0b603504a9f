"""Chats as chat templates read them, with the tools they offer, become token ids. No LangChain here: training reads them, too.

Files:
    rendering.py       the whole chat as token ids
    forms.py           second tries for templates that are strict about roles
    tool_use.py        ToolUse: the tools of one call, and how they are put to the model
    format_words.py    a response format in words
    template_facts.py  TemplateFacts: what a chat template tells the model of tools
"""

from __future__ import annotations

from langchain_softprompt.chats.format_words import format_words, shows_format, with_words
from langchain_softprompt.chats.forms import PlainMessage, in_first_form
from langchain_softprompt.chats.rendering import render_plain
from langchain_softprompt.chats.tool_use import ToolUse, told_in_chat

__all__ = ["PlainMessage", "ToolUse", "format_words", "in_first_form", "render_plain", "shows_format", "told_in_chat", "with_words"]
