"""A Python function as a metric: from a row and its answer to a number."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation.metrics.metric import Judged, Measured, Metric, mean_of

RowFunction = Callable[[Mapping[str, str], str], float]


def function_metric(function: RowFunction, name: str | None = None) -> Metric:
    """A metric whose score is the mean of what a function makes of each row and its answer.

    A row that could not be answered counts 0; the function is not asked. Where it gives nothing but true and false, intervals and
    tests are those of right-or-wrong metrics; where it says so (``-> bool``), its score is told as a share, too.
    """
    called = name or str(getattr(function, "__name__", "function"))

    def measure(rows: Sequence[Judged]) -> Measured:
        values = [False if row.failed else _value(function, called, number, row) for number, row in enumerate(rows, start=1)]
        return mean_of([float(value) for value in values], binary=all(isinstance(value, bool) for value in values))

    share = getattr(function, "__annotations__", {}).get("return") in (bool, "bool")
    words = (function.__doc__ or "").strip().splitlines()
    return Metric(called, measure, words[0] if words else f"The mean of {called}(row, answer).", scale="share" if share else "number")


def load_function(place: str) -> Metric:
    """Import a function and make a metric of it.

    Args:
        place: ``module:function``.

    Raises:
        EvaluationError: There is no such module or function, or importing it fails.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        msg = f"function: expected module:function, found {place!r}, for instance my_metrics:length_is_right."
        raise EvaluationError(msg)
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except Exception as error:  # The module's own code runs here.
        msg = f"function: {place} can't be imported: {type(error).__name__}: {error}. Is the module in this folder or installed?"
        raise EvaluationError(msg) from error
    if not callable(function):
        msg = f"function: {place} is no function but {type(function).__name__}."
        raise EvaluationError(msg)
    return function_metric(function, name)


def _value(function: RowFunction, name: str, number: int, row: Judged) -> float | bool:
    try:
        value = function(row.row, row.answer)
    except Exception as error:  # The user's own code.
        msg = f"{name}: row {number} raised {type(error).__name__}: {error}."
        raise EvaluationError(msg) from error
    if not isinstance(value, int | float | np.number | np.bool_) or not math.isfinite(value):
        msg = f"{name}: row {number}: expected a finite number (or true or false), found {value!r}."
        raise EvaluationError(msg)
    return bool(value) if isinstance(value, bool | np.bool_) else float(value)
