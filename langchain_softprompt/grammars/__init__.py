"""What answers may be held to, before any model is there: schemas, patterns and grammars, read and checked. No torch.

Files:
    source.py         GrammarSource: one thing to hold answers to; made from a JSON schema, a regex, Lark or choices
    schema_walk.py    the schemas inside a JSON schema, each with its place
    schema_forms.py   a JSON schema as the grammar wants it: objects closed, unknown formats left out
    answer_check.py   a finished answer against its JSON schema
    library.py        the one door to llguidance and jsonschema, which are an extra
"""

from __future__ import annotations

from langchain_softprompt.grammars.answer_check import why_invalid
from langchain_softprompt.grammars.library import available
from langchain_softprompt.grammars.source import GrammarSource, formed_schema

__all__ = ["GrammarSource", "available", "formed_schema", "why_invalid"]
