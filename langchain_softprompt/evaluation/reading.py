"""How likely an arm finds the wanted answers (teacher forcing)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langchain_softprompt.data import Example
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood import CompletionScore, score_completions
from langchain_softprompt.prefix import KVPrefix, TokenIds, compile_prefix, compile_segments
from langchain_softprompt.soft_prompt import SoftPrompt

_BATCH = 8


def read_wanted(
    model: FrozenModel,
    soft_prompt: SoftPrompt | None,
    examples: Sequence[Example],
    *,
    allow_other_model: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> list[CompletionScore | None]:
    """Score the wanted answers of some rows.

    What all texts begin with is read once. No engine may be using the model meanwhile.

    Args:
        model: The frozen model.
        soft_prompt: What stands before the texts; ``None`` for the bare model.
        examples: Texts and wanted answers.
        allow_other_model: Take a soft prompt that was made for another model.
        on_rows: Called with the number of rows done, as they are.

    Returns:
        A score for each row; ``None`` where it does not fit the model's context.
    """
    virtual = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
    room = model.max_positions
    fitting = [number for number, example in enumerate(examples) if room is None or virtual + len(example) <= room]
    read = [examples[number] for number in fitting]
    prefix: KVPrefix | None = None
    if soft_prompt is not None:
        prefix = compile_prefix(model, soft_prompt, allow_other_model=allow_other_model)
    elif model.reuses_prefix and len(read) > 1:
        shared = _shared(read)
        if shared:
            prefix = compile_segments(model, [TokenIds(read[0].text[:shared])])
            read = [Example(example.text[shared:], example.completion) for example in read]
    scores: list[CompletionScore | None] = [None] * len(examples)
    for number, score in zip(fitting, score_completions(model, prefix, read, batch_size=_BATCH, on_rows=on_rows), strict=True):
        scores[number] = score
    if on_rows is not None and len(fitting) < len(examples):
        on_rows(len(examples) - len(fitting))
    return scores


def _shared(examples: Sequence[Example]) -> int:
    """How many tokens all texts begin with; each keeps at least one of its own."""
    first, last = min(example.text for example in examples), max(example.text for example in examples)
    most = min(len(example.text) for example in examples) - 1
    return next((place for place in range(most) if first[place] != last[place]), most)


__all__ = ["read_wanted"]
