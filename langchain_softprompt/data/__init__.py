"""The room of rows and templates: what is learned from and judged on, before any soft prompt is there.

Files:
    rows.py         JSONL and CSV files, checked line by line
    hard_prompt.py  HardPrompt: a chat prompt template, its instructions and what is sent after them
    chats.py        Chat: messages whose last one is the answer, with tools
    chat_checks.py  ChatChecks: one line of a file of chats, while it is checked
    splits.py       rows to keep apart: a held-out share, folds
    examples.py     a row and a template become token ids: text read, completion learned
"""

from __future__ import annotations

from langchain_softprompt.data.chats import Chat, chat_examples, read_chats
from langchain_softprompt.data.examples import Example, example_of, fitted, instruction_ids, make_examples, system_ids
from langchain_softprompt.data.hard_prompt import HardPrompt, fields_of, fill, read_text
from langchain_softprompt.data.rows import Row, check_rows, digest_rows, mark_of, read_rows, row_marks
from langchain_softprompt.data.splits import folds, hold_out, hold_out_any, is_classification

__all__ = [
    "Chat",
    "Example",
    "HardPrompt",
    "Row",
    "chat_examples",
    "check_rows",
    "digest_rows",
    "example_of",
    "fields_of",
    "fill",
    "fitted",
    "folds",
    "hold_out",
    "hold_out_any",
    "instruction_ids",
    "is_classification",
    "make_examples",
    "mark_of",
    "read_chats",
    "read_rows",
    "read_text",
    "row_marks",
    "system_ids",
]
