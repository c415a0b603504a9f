"""A row and a template become token ids: the text that is read, and the completion that is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_softprompt.errors import ChatTemplateError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.training.hard_prompt import HardPrompt, fill

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Example:
    """One training example.

    Attributes:
        text: Token ids read after the soft prompt, up to where the assistant speaks.
        completion: Token ids to learn, with the end-of-turn token.
    """

    text: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.text) + len(self.completion)


def make_examples(
    model: FrozenModel, prompt: HardPrompt, rows: Sequence[Mapping[str, str]], target: str, *, max_tokens: int, source: str
) -> list[Example]:
    """Render rows exactly as `ChatSoftPrompt` renders the same messages when it serves them.

    Raises:
        TrainingDataError: A row is longer than `max_tokens`.
        ChatTemplateError: The model's chat template refuses the messages.
    """
    examples = []
    for number, row in enumerate(rows, start=1):
        example = _example(_tokenizer(model), model.eos_token_ids, fill(prompt.inputs, row), row[target])
        if len(example) > max_tokens:
            raise TrainingDataError(
                source, None, f"row {number} takes {len(example)} tokens, more than {max_tokens}. Shorten it or raise max_tokens."
            )
        examples.append(example)
    return examples


def instruction_ids(model: FrozenModel, prompt: HardPrompt) -> list[int]:
    """Token ids of the instructions as they stand at the head of a rendered chat."""
    messages = fill(prompt.instructions, {})
    tokenizer = _tokenizer(model)
    try:
        return render_chat(tokenizer, messages, add_generation_prompt=False)
    except ChatTemplateError:
        # A template without a system role: the instructions stand before the chat as plain text.
        return [int(token) for token in tokenizer("\n".join(message["content"] for message in messages) + "\n")["input_ids"]]


def _tokenizer(model: FrozenModel) -> PreTrainedTokenizerBase:
    if model.tokenizer is None:
        msg = f"{model.name} was wrapped without a tokenizer, and rendering chats needs one."
        raise ChatTemplateError(msg)
    return model.tokenizer


def _example(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], messages: list[dict[str, Any]], target: str) -> Example:
    text = render_chat(tokenizer, messages, drop_default_system=True)
    answered = [*messages, {"role": "assistant", "content": target}]
    whole = render_chat(tokenizer, answered, drop_default_system=True, add_generation_prompt=False)
    if whole[: len(text)] == text:
        completion = whole[len(text) :]
    else:  # Some templates move or strip text of earlier turns.
        completion = [*tokenizer(target, add_special_tokens=False)["input_ids"], *ends[:1]]
    stop = next((at for at, token in enumerate(completion) if token in ends), None)
    completion = [*completion, *ends[:1]] if stop is None else completion[: stop + 1]
    return Example(tuple(text), tuple(completion))
