"""Answers that are texts: exactly the wanted one, or how much of its letters are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from langchain_softprompt.evaluation.extras import need
from langchain_softprompt.evaluation.metrics.metric import Judged, Measured, mean_of

if TYPE_CHECKING:
    from langchain_softprompt.evaluation.metrics.metric import Numbers


def same(wanted: str, answer: str, *, ignore_case: bool = False) -> bool:
    """Whether an answer is the wanted one, outer white space aside, and case where that is asked for."""
    wanted, answer = wanted.strip(), answer.strip()
    return wanted.casefold() == answer.casefold() if ignore_case else wanted == answer


def exact_match(rows: Sequence[Judged], *, ignore_case: bool = False) -> Measured:
    """The share of rows whose answer is the wanted one."""
    return mean_of([float(same(row.wanted, row.answer, ignore_case=ignore_case)) for row in rows], binary=True)


def chrf(rows: Sequence[Judged], *, ignore_case: bool = False) -> Measured:
    """Overlap of character n-grams up to 6, recall counted twice (chrF2, Popović 2015), as sacrebleu counts it, from 0 to 1."""
    scorer = need("sacrebleu").CHRF(lowercase=ignore_case)
    answers = [row.answer for row in rows]
    wanted = [row.wanted for row in rows]
    # What sacrebleu's own bootstrap adds up: n-grams of answers, of wanted texts, and of both.
    parts = np.asarray(scorer._extract_corpus_statistics(answers, [wanted]), dtype=np.float64)  # noqa: SLF001
    values = [scorer.sentence_score(answer, [text]).score / 100 for answer, text in zip(answers, wanted, strict=True)]

    def combine(sums: Numbers) -> Numbers:
        return np.asarray([scorer._compute_f_score(row.tolist()) / 100 for row in sums])  # noqa: SLF001

    return Measured(np.asarray(values, dtype=np.float64), parts, combine)
