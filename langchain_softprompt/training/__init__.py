"""The room where soft prompts are learned.

Files:
    train.py        train(): hard prompt and rows in, SoftPrompt out
    loop.py         the optimisation: batches, loss, schedule, best step on validation
"""

from __future__ import annotations

from langchain_softprompt.data import HardPrompt, read_rows
from langchain_softprompt.training.loop import StepReport
from langchain_softprompt.training.train import train

__all__ = ["HardPrompt", "StepReport", "read_rows", "train"]
