"""The room where an old soft prompt is looked at again: does it still do on today's model what it did when it was made?

Files:
    checking.py     check_soft_prompt(): a frozen model and a soft prompt in, an Ageing out
    findings.py     Ageing and its parts: model and versions, chat template, probes, evaluation
    templates.py    the probes' messages as today's chat template renders them
    evaluating.py   the recorded evaluation, made again
    recording.py    probes written into a soft prompt that has none, or renewed
    words.py        what to do next, in plain words
"""

from __future__ import annotations

from langchain_softprompt.ageing.checking import check_soft_prompt
from langchain_softprompt.ageing.evaluating import evaluation_fields
from langchain_softprompt.ageing.findings import (
    Ageing,
    Environment,
    EvaluationAgain,
    Identity,
    ScoreAgain,
    TemplateChange,
    TemplateCheck,
    worst,
)
from langchain_softprompt.ageing.recording import input_fields, record_again

__all__ = [
    "Ageing",
    "Environment",
    "EvaluationAgain",
    "Identity",
    "ScoreAgain",
    "TemplateChange",
    "TemplateCheck",
    "check_soft_prompt",
    "evaluation_fields",
    "input_fields",
    "record_again",
    "worst",
]
