"""The room of given answers: how likely a frozen model finds completions it did not choose itself (teacher forcing).

Training takes its loss from here, so that what is learned is what is judged and checked later.

Files:
    forward.py      one pass over a batch of examples: logits where a completion token is predicted
    scores.py       CompletionScore: log-probabilities of completions, row by row
"""

from __future__ import annotations

from langchain_softprompt.likelihood.forward import completion_logits, completion_targets
from langchain_softprompt.likelihood.scores import CompletionScore, score_completions

__all__ = ["CompletionScore", "completion_logits", "completion_targets", "score_completions"]
