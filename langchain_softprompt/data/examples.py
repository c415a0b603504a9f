"""A row and a template become token ids: the text that is read, and the completion that is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_softprompt.chats import ToolUse, render_plain
from langchain_softprompt.data.hard_prompt import HardPrompt, fill
from langchain_softprompt.data.rows import ReadRow
from langchain_softprompt.errors import ChatTemplateError, FrozenModelError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel, render_chat

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
        TrainingDataError: There are no rows, a row lacks a field, or it is longer than `max_tokens`.
        FrozenModelError: The model has no end-of-sequence token to learn.
        ChatTemplateError: The model's chat template refuses the messages.
    """
    if not rows:
        raise TrainingDataError(source, None, "holds no rows.")
    prompt.check_target(target)
    ending_model(model)
    examples = []
    for number, row in enumerate(rows, start=1):
        _check_row(row, [*prompt.fields, target], number, source)
        example = example_of(model, fill(prompt.inputs, row), row[target])
        place = (row.file, row.line) if isinstance(row, ReadRow) else None
        check_length(example, number, max_tokens, source, place)
        examples.append(example)
    return examples


def ending_model(model: FrozenModel) -> None:
    """Refuse a model whose answers have no end.

    Raises:
        FrozenModelError: It has no end-of-sequence token to learn.
    """
    if not model.eos_token_ids:
        msg = f"{model.name} names no end-of-sequence token, so an answer could not learn to end. Set it in its generation config."
        raise FrozenModelError(msg)


def check_length(example: Example, number: int, max_tokens: int, source: str, place: tuple[str, int] | None) -> None:
    """Refuse an example that is too long.

    Raises:
        TrainingDataError: It is; it names the file and line of `place`, or else the row's number in `source`.
    """
    if len(example) > max_tokens:
        problem = f"takes {len(example)} tokens, more than {max_tokens}. Shorten it or raise max_tokens."
        if place is not None:  # Its number here is not the one in its file where rows were set aside.
            raise TrainingDataError(*place, problem)
        raise TrainingDataError(source, None, f"row {number} {problem}")


def fitted(ids: Sequence[int], length: int) -> list[int]:
    """Token ids cut to a length, or repeated up to it, as PEFT's text initialisation does."""
    return (list(ids) * -(-length // len(ids)))[:length]


def instruction_ids(model: FrozenModel, prompt: HardPrompt) -> list[int]:
    """Token ids of the instructions as they stand at the head of a rendered chat."""
    return system_ids(model, fill(prompt.instructions, {}))


def system_ids(model: FrozenModel, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Token ids of system messages as they stand at the head of a rendered chat."""
    tokenizer = _tokenizer(model)
    try:
        rendered = render_chat(tokenizer, messages, add_generation_prompt=False)
    except ChatTemplateError:
        rendered = []
    if rendered:
        return rendered
    # A template without a system role: the instructions stand before the chat as plain text, after the mark it begins with.
    plain = _plain_ids(tokenizer, "\n".join(message["content"] for message in messages) + "\n")
    begin = tokenizer.bos_token_id
    marked = render_chat(tokenizer, [{"role": "user", "content": "x"}])[:1] == [begin]
    return [begin, *plain] if marked else plain


def _check_row(row: Mapping[str, str], fields: Sequence[str], number: int, source: str) -> None:
    if not isinstance(row, Mapping):
        raise TrainingDataError(source, None, f"row {number}: expected a mapping of fields, found {type(row).__name__}.")
    for field in fields:
        if not isinstance(row.get(field), str):
            raise TrainingDataError(source, None, f"row {number}: field {field!r}: expected text, found {row.get(field)!r}.")


def _plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Control tokens inside the text stay text, as in `render_chat`."""
    return [int(token) for token in tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]]


def _tokenizer(model: FrozenModel) -> PreTrainedTokenizerBase:
    if model.tokenizer is None:
        msg = f"{model.name} was wrapped without a tokenizer, and rendering chats needs one."
        raise ChatTemplateError(msg)
    return model.tokenizer


def example_of(model: FrozenModel, messages: Sequence[Mapping[str, Any]], answer: str, *, drop_default_system: bool = True) -> Example:
    """Render chat messages and the answer to them, as they are rendered when a soft prompt is served.

    Args:
        model: The frozen model; it has an end-of-sequence token.
        messages: The chat up to where the assistant speaks.
        answer: What it says.
        drop_default_system: As in `render_chat`.

    Raises:
        ChatTemplateError: The model's chat template refuses the messages.
    """
    return completed(model, messages, {"role": "assistant", "content": answer}, answer, drop_default_system=drop_default_system)


def completed(
    model: FrozenModel,
    messages: Sequence[Mapping[str, Any]],
    answer: Mapping[str, Any],
    written: str,
    *,
    drop_default_system: bool = True,
    use: ToolUse | None = None,
) -> Example:
    """Render chat messages and the message that answers them, as they are rendered when a soft prompt is served.

    Args:
        model: The frozen model; it has an end-of-sequence token.
        messages: The chat up to where the assistant speaks.
        answer: The assistant's message.
        written: What the model writes to say it, for templates that write an answered turn another way than they open one.
        drop_default_system: As in `render_chat`.
        use: The tools that are offered.

    Raises:
        ChatTemplateError: The model's chat template refuses the messages.
    """
    tokenizer, ends = _tokenizer(model), model.eos_token_ids
    plain = [dict(message) for message in messages]
    how: dict[str, Any] = {"drop_default_system": drop_default_system, "use": use}
    text = render_plain(tokenizer, plain, **how)
    whole = render_plain(tokenizer, [*plain, dict(answer)], **how, add_generation_prompt=False)
    completion = whole[len(text) :] if whole[: len(text)] == text else _plain_ids(tokenizer, written)
    stop = next((at for at, token in enumerate(completion) if token in ends), None)
    completion = [*completion, *ends[:1]] if stop is None else completion[: stop + 1]
    return Example(tuple(text), tuple(completion))
