"""The part of a run's page about the folds before it, from the facts that `CrossValidation.facts` gives a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_softprompt.reports import Section, Table, Text

_COLUMNS = {
    "rows": "rows",
    "initial_exact_match": "exact match before",
    "exact_match": "exact match",
    "loss": "loss",
    "best_step": "best step",
}


def is_fold_fact(name: str) -> bool:
    """Whether a fact of a training is about its folds."""
    return name == "folds" or name.startswith(("folds_", "fold_"))


def expectation(training: Mapping[str, Any]) -> str:
    """What to expect on new rows, in a sentence; empty where no folds were trained."""
    if not training.get("folds"):
        return ""
    error = training.get("folds_standard_error")
    give_or_take = f" (standard error {error:.1%})" if error is not None else ""
    return (
        f"{training['folds']} folds say what to expect on new rows: about {training['folds_exact_match']:.1%} exact answers{give_or_take}."
    )


def folds_section(training: Mapping[str, Any]) -> list[Section]:
    """The section; none where there were no folds."""
    if not training.get("folds"):
        return []
    text = (
        f"{expectation(training)}\n\n"
        f"The rows were dealt into {training['folds']} parts, and each part was judged by a soft prompt that learned from the others and "
        "never saw it. The soft prompt of this run is another one: it learned from all rows, for as many steps as were best in the "
        "folds on average. Folds share rows to learn from, which makes the standard error a little too small."
    )
    names = [name for name in _COLUMNS if f"fold_1_{name}" in training]
    rows = [[number, *(training.get(f"fold_{number}_{name}") for name in names)] for number in range(1, int(training["folds"]) + 1)]
    table = [Table(["fold", *(_COLUMNS[name] for name in names)], rows, "Each fold; exact match is a share of its rows.")] if names else []
    return [Section("Folds: what to expect on new rows", parts=[Text(text), *table])]


__all__ = ["expectation", "folds_section", "is_fold_fact"]
