"""The room of measures: rows and answers become numbers, each with a value a row and a way to add rows up.

Files:
    metric.py       Metric, Measured: what a metric is, and why every one can be resampled
    labels.py       accuracy, macro_f1
    texts.py        exact_match, chrf
    json_answers.py valid_json, json_exact_match, slot_f1
    likelihoods.py  perplexity
    functions.py    a Python function as a metric
    choosing.py     metrics by name, and by what the wanted answers look like
"""

from __future__ import annotations

from langchain_softprompt.evaluation.metrics.choosing import METRICS, Task, choose_metrics, guess_task
from langchain_softprompt.evaluation.metrics.functions import load_function
from langchain_softprompt.evaluation.metrics.metric import Judged, Measured, Metric

__all__ = ["METRICS", "Judged", "Measured", "Metric", "Task", "choose_metrics", "guess_task", "load_function"]
