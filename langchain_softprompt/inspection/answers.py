"""Greedy answers through the engine, as token ids: what the soft prompt says when it is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langchain_softprompt.engine import Engine, GenerationResult
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt

Text = Sequence[int]


def greedy_answers(
    model: FrozenModel,
    asked: Sequence[tuple[Text, SoftPrompt | None]],
    *,
    max_tokens: int,
    allow_other_model: bool = False,
    on_answer: Callable[[], None] | None = None,
) -> list[tuple[int, ...]]:
    """Let the model answer texts, each after a soft prompt or none.

    Args:
        model: The frozen model.
        asked: Token ids of each text, and the soft prompt before it.
        max_tokens: Most tokens of an answer.
        allow_other_model: Take soft prompts that were made for another model.
        on_answer: Called as each answer comes in.

    Returns:
        Token ids of each answer, with the end-of-sequence token where it ended by itself; at least one.

    Raises:
        RequestError: A text does not fit the model's context.
    """
    settings = GenerationSettings(max_new_tokens=max_tokens)
    with Engine(model) as engine:
        running = [
            engine.submit(list(text), soft_prompt=soft_prompt, settings=settings, allow_other_model=allow_other_model)
            for text, soft_prompt in asked
        ]
        answers = []
        for generation in running:
            answers.append(_with_end(model, generation.result()))
            if on_answer is not None:
                on_answer()
    return answers


def spell(model: FrozenModel, token_ids: Sequence[int]) -> str:
    """An answer's words, without its end."""
    ids = [token for token in token_ids if token not in model.eos_token_ids]
    return str(model.tokenizer.decode(ids)).strip() if model.tokenizer is not None else " ".join(map(str, ids))


def _with_end(model: FrozenModel, result: GenerationResult) -> tuple[int, ...]:
    ended = result.finish_reason == "stop" and model.eos_token_ids
    return (*result.token_ids, *model.eos_token_ids[:1]) if ended or not result.token_ids else result.token_ids


__all__ = ["greedy_answers", "spell"]
