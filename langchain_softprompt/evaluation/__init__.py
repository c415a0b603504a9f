"""The room where soft prompts are judged, beside the baselines that keep them honest.

Files:
    judge.py           evaluate(): arms and rows in, an Evaluation out
    options.py         EvaluationOptions: how to go about it
    arms.py            Arm: a soft prompt, a hard prompt, a hard prompt with solved examples
    baselines.py       the baselines of some soft prompts
    initialisation.py  the arm of what a soft prompt started as
    answering.py       answer_rows, ask: answers from the engine, all together
    trial.py           Trial: all arms answer all rows
    reading.py         how likely an arm finds the wanted answers
    metrics/           what answers are scored by
    statistics.py      how sure scores, differences and gaps are: intervals, McNemar's test, randomisation test
    shares.py          intervals of shares from few rows
    findings.py        answers become scores, comparisons, confusions, worst cases, gaps
    knowledge.py       what is left of the bare model
    words.py           verdicts in plain words
    evaluation.py      Evaluation: all that came of it; JSON, and what a manifest keeps
    results.py         what it consists of: scores, comparisons, confusions, cases, gaps
    report.py          the same as one HTML page
    extras.py          the libraries of the extra ``eval``
    neutral.txt        text about nothing in particular
"""

from __future__ import annotations

from langchain_softprompt.evaluation.answering import Answer, answer_rows
from langchain_softprompt.evaluation.arms import (
    Arm,
    few_shot_arm,
    folded_arm,
    folded_few_shot_arm,
    hard_prompt_arm,
    hard_prompt_of,
    soft_prompt_arm,
)
from langchain_softprompt.evaluation.baselines import baselines
from langchain_softprompt.evaluation.evaluation import Evaluation
from langchain_softprompt.evaluation.initialisation import initialisation_arm
from langchain_softprompt.evaluation.judge import evaluate
from langchain_softprompt.evaluation.knowledge import BareModel
from langchain_softprompt.evaluation.metrics import METRICS, Metric, guess_task, load_function
from langchain_softprompt.evaluation.options import EvaluationOptions
from langchain_softprompt.evaluation.results import (
    ArmResult,
    Case,
    Comparison,
    Confusion,
    Failure,
    Gap,
    Knowledge,
    MetricFacts,
    Score,
)
from langchain_softprompt.evaluation.statistics import Interval

__all__ = [
    "METRICS",
    "Answer",
    "Arm",
    "ArmResult",
    "BareModel",
    "Case",
    "Comparison",
    "Confusion",
    "Evaluation",
    "EvaluationOptions",
    "Failure",
    "Gap",
    "Interval",
    "Knowledge",
    "Metric",
    "MetricFacts",
    "Score",
    "answer_rows",
    "baselines",
    "evaluate",
    "few_shot_arm",
    "folded_arm",
    "folded_few_shot_arm",
    "guess_task",
    "hard_prompt_arm",
    "hard_prompt_of",
    "initialisation_arm",
    "load_function",
    "soft_prompt_arm",
]
