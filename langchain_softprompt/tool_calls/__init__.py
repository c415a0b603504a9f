"""The room of tool calls: how families of models write them in text, and how that text is read. Plain text and JSON, no LangChain.

Files:
    pieces.py      Tool, ToolCall, BrokenCall: what is offered, what was asked for, what could not be read
    bodies.py      the inside of a call's markers becomes calls: JSON, named JSON, XML, Python
    gemma.py       the same for Gemma's own notation
    bare.py        calls without marks: how far the beginning of an answer may be one
    arguments.py   arguments brought to the types that a tool's schema wants, where nothing is lost by it; and held to JSON
    formats.py     ToolFormat: a family's markers, its reading and its writing; the known ones; `register_tool_format`
    choosing.py    which format a chat template is of
    reader.py      ToolCallReader: an answer as it comes becomes text and calls
    telling.py     tools and calls in words, for chat templates that know neither
    grammar.py     the grammars of an answer that has to be a call, and of one that may be
"""

from __future__ import annotations

from langchain_softprompt.tool_calls.choosing import find_format, format_of_template
from langchain_softprompt.tool_calls.formats import KNOWN_FORMATS, Frame, ToolFormat, register_tool_format
from langchain_softprompt.tool_calls.grammar import call_grammar, free_grammar
from langchain_softprompt.tool_calls.pieces import BrokenCall, Piece, Tool, ToolCall
from langchain_softprompt.tool_calls.reader import ToolCallReader
from langchain_softprompt.tool_calls.telling import tell_tools, told_result

__all__ = [
    "KNOWN_FORMATS",
    "BrokenCall",
    "Frame",
    "Piece",
    "Tool",
    "ToolCall",
    "ToolCallReader",
    "ToolFormat",
    "call_grammar",
    "find_format",
    "format_of_template",
    "free_grammar",
    "register_tool_format",
    "tell_tools",
    "told_result",
]
