"""The room of given answers: how likely a frozen model finds completions it did not choose itself (teacher forcing).

Training takes its loss from here, so that what is learned is what is judged and checked later.

Files:
    forward.py      completions of a batch of examples: their logits, their loss, their log-probabilities
    llama/          Llama-shaped models, written out with their gradients
    padded.py       transformers' own forward over a padded batch, for any model
    vocabulary.py   where hidden states meet the vocabulary, a few positions at a time
    scores.py       CompletionScore: log-probabilities of completions, row by row
"""

from __future__ import annotations

from langchain_softprompt.likelihood.forward import completion_logits, completion_loss, completion_targets
from langchain_softprompt.likelihood.scores import CompletionScore, score_completions

__all__ = ["CompletionScore", "completion_logits", "completion_loss", "completion_targets", "score_completions"]
