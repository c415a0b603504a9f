"""The room where soft prompts are learned.

Files:
    train.py        train(): hard prompt and rows in, SoftPrompt out
    loop.py         the optimisation: batches, loss, schedule, best step on validation
    examples.py     a row and a template become token ids: text read, completion learned
    hard_prompt.py  HardPrompt: the prompt template to start from
    rows.py         JSONL and CSV files, checked line by line
"""

from __future__ import annotations

from langchain_softprompt.training.hard_prompt import HardPrompt
from langchain_softprompt.training.loop import StepReport
from langchain_softprompt.training.rows import read_rows
from langchain_softprompt.training.train import train

__all__ = ["HardPrompt", "StepReport", "read_rows", "train"]
