"""What a soft prompt is before its first step: the hard prompt, words of the vocabulary, or another soft prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from langchain_softprompt.data import Example, fitted
from langchain_softprompt.errors import FrozenModelError, InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import TokenIds, compile_prefix, compile_segments
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training.learners import EmbeddingLearner, KeyValueLearner, Learner, check_one_shape

_VOCABULARY_TOKENS = 32


def new_learner(model: FrozenModel, text: Sequence[int], settings: TrainingSettings, *, start_from: SoftPrompt | None = None) -> Learner:
    """Make what will be learned, as it is before the first step.

    Args:
        model: The frozen model.
        text: Tokens of the hard prompt it starts as, for the start ``"hard-prompt"``; see `start_ids`.
        settings: Method, start, length and seed.
        start_from: Another soft prompt to start as; any type for keys and values, one made of embeddings for embeddings.

    Raises:
        FrozenModelError: The model can't be trained on, or not by this method.
        InvalidSettingsError: The soft prompt to start from does not fit the method or the length.
        ModelMismatchError: It was made for another model.
    """
    _check_trainable(model, settings)
    if start_from is not None and settings.start != TrainingSettings().start:
        msg = f"start: {settings.start} and another soft prompt to start from exclude each other. Give one of the two."
        raise InvalidSettingsError(msg)
    torch.manual_seed(settings.seed)
    if start_from is not None:
        return _from_soft_prompt(model, start_from, settings)
    ids = start_ids(model, text, settings)
    if settings.method == "prompt-tuning":
        rows = model.embed(torch.tensor(ids, device=model.device))
        return EmbeddingLearner(model, rows, residual=settings.residual)
    return KeyValueLearner(model, compile_segments(model, [TokenIds(ids)]).stacked())


def check_fits(model: FrozenModel, learner: Learner, examples: Sequence[Example]) -> None:
    """Refuse a soft prompt that leaves too little of the model's context to its examples.

    Raises:
        InvalidSettingsError: With the longest example it is longer than the context.
    """
    length, longest = learner.soft_prompt().num_virtual_tokens, max(map(len, examples), default=0)
    if model.max_positions is not None and length + longest > model.max_positions:
        msg = (
            f"virtual_tokens: {length} and the longest example, {longest} tokens, are more than the context of {model.name}, "
            f"{model.max_positions}. Take fewer virtual tokens, or shorten the example."
        )
        raise InvalidSettingsError(msg)


def start_ids(model: FrozenModel, text: Sequence[int], settings: TrainingSettings) -> list[int]:
    """The tokens a soft prompt starts as.

    A text that is too long is cut, and repeated where it is too short, as PEFT's text initialisation does.
    """
    if settings.start == "vocabulary":
        return _drawn(model, settings.virtual_tokens or _VOCABULARY_TOKENS, settings.seed)
    length = settings.virtual_tokens or len(text)
    return fitted(text, length)


def _from_soft_prompt(model: FrozenModel, soft_prompt: SoftPrompt, settings: TrainingSettings) -> Learner:
    length = soft_prompt.num_virtual_tokens
    if settings.virtual_tokens not in (None, length):
        msg = f"virtual_tokens: expected {length}, the length of the soft prompt it starts from, or none, found {settings.virtual_tokens}."
        raise InvalidSettingsError(msg)
    prefix = compile_prefix(model, soft_prompt)  # Checked as for serving, whichever method follows.
    if settings.method == "kv-prefix":
        return KeyValueLearner(model, prefix.stacked())
    rows = soft_prompt.embedding_rows()
    if rows is None:
        msg = f"The soft prompt to start from is of type {soft_prompt.kind}: keys and values, no embeddings. Use method kv-prefix."
        raise InvalidSettingsError(msg)
    return EmbeddingLearner(model, rows, residual=settings.residual)


def _drawn(model: FrozenModel, length: int, seed: int) -> list[int]:
    """Tokens of the vocabulary that text is made of: no control tokens."""
    special = set(model.tokenizer.all_special_ids) if model.tokenizer is not None else set()
    order = torch.randperm(model.vocab_size, generator=torch.Generator().manual_seed(seed))
    plain = [int(token) for token in order if int(token) not in special]
    return fitted(plain, length)


def _check_trainable(model: FrozenModel, settings: TrainingSettings) -> None:
    if model.packed:
        msg = (
            f"{model.name} was loaded with weights laid out for serving, which have no gradients. Load it without packed and quantization."
        )
        raise FrozenModelError(msg)
    if settings.method == "prompt-tuning":
        return
    if not model.reuses_prefix:
        msg = (
            f"{model.name} can't continue from keys and values (its load-time self-test failed), so a KV prefix can't be trained on it. "
            "Train with the method prompt-tuning."
        )
        raise FrozenModelError(msg)
    check_one_shape(model)


__all__ = ["check_fits", "new_learner", "start_ids"]
