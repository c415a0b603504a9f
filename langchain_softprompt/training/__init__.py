"""The room where soft prompts are learned.

Files:
    train.py        train(): hard prompt and rows in, SoftPrompt out
    material.py     Material: what is learned from, rows under a template or whole chats
    distill.py      distill(): a long hard prompt and texts in, a short SoftPrompt out
    teacher.py      Teacher: the model with the whole long prompt
    self_made.py    texts that the model makes up itself
    folds.py        cross_validate(): trained and judged on each part of few rows in turn
    runs.py         Run: from the first step, or from where a run stands, to its soft prompts
    loop.py         TrainingLoop: steps, looks at the validation rows, the best step kept
    learners.py     Learner: keys and values, or rows of embeddings, while they are learned
    starts.py       what a soft prompt is before its first step
    objectives.py   what a step makes smaller: write the completions, or say what a teacher says
    batches.py      the order of the examples
    sweep.py        the learning rate, found by trying
    plan.py         Plan: steps, tokens, time and memory before they are spent
    records.py      Records: what is written down about a soft prompt when it is done
    report.py       a run in pictures and tables; distilled_report.py and folds_report.py are parts of it
    run_log.py      what a run's log says, for those who tell it
    state.py        TrainingState: where a run stands, in one file
    run_folder.py   RunFolder: settings, log, state, and the soft prompts of a run
"""

from __future__ import annotations

from langchain_softprompt.data import Chat, HardPrompt, read_chats, read_rows
from langchain_softprompt.training.distill import Distillation, compare_answers, distill
from langchain_softprompt.training.folds import FEW_ROWS, CrossValidation, Fold, cross_validate
from langchain_softprompt.training.loop import StepReport
from langchain_softprompt.training.plan import Plan
from langchain_softprompt.training.run_folder import RunFolder
from langchain_softprompt.training.runs import Nobody, Watcher
from langchain_softprompt.training.self_made import make_texts
from langchain_softprompt.training.train import train, train_on_chats

__all__ = [
    "FEW_ROWS",
    "Chat",
    "CrossValidation",
    "Distillation",
    "Fold",
    "HardPrompt",
    "Nobody",
    "Plan",
    "RunFolder",
    "StepReport",
    "Watcher",
    "compare_answers",
    "cross_validate",
    "distill",
    "make_texts",
    "read_chats",
    "read_rows",
    "train",
    "train_on_chats",
]
