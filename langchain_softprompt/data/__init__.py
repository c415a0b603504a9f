"""The room of rows and templates: what is learned from and judged on, before any soft prompt is there.

Files:
    rows.py         JSONL and CSV files, checked line by line
    hard_prompt.py  HardPrompt: a chat prompt template, its instructions and what is sent after them
    examples.py     a row and a template become token ids: text read, completion learned
"""

from __future__ import annotations

from langchain_softprompt.data.examples import Example, instruction_ids, make_examples
from langchain_softprompt.data.hard_prompt import HardPrompt, fill
from langchain_softprompt.data.rows import Row, read_rows

__all__ = ["Example", "HardPrompt", "Row", "fill", "instruction_ids", "make_examples", "read_rows"]
