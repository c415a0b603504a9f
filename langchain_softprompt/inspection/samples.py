"""Sample inputs: what the soft prompt is watched on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_softprompt.chats import in_first_form
from langchain_softprompt.data import Example, HardPrompt, example_of, fields_of, fill, instruction_ids
from langchain_softprompt.errors import ChatTemplateError, EvaluationError, SoftPromptError
from langchain_softprompt.evaluation import hard_prompt_of
from langchain_softprompt.evaluation.knowledge import neutral_texts
from langchain_softprompt.frozen_model import FrozenModel, encode_text, render_chat
from langchain_softprompt.soft_prompt import SoftPrompt, TemplateMessage

_NEUTRAL_TEXTS = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """One input.

    Attributes:
        shown: Its words, for people.
        text: Its token ids, as they are read after the soft prompt.
        wanted: Token ids of the wanted answer with its end; empty where nobody knows it.
    """

    shown: str
    text: tuple[int, ...]
    wanted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """The inputs of an inspection.

    Attributes:
        samples: The inputs.
        origin: Where they came from: ``"rows"``, ``"probes"`` (the manifest's) or ``"neutral"`` (this package's own texts).
        labelled: Whether the wanted answers are known.
        too_long: How many were left out because they don't fit the model's context.
    """

    samples: tuple[Sample, ...]
    origin: str
    labelled: bool = False
    too_long: int = 0

    def __str__(self) -> str:
        kinds = {
            "rows": "rows of the data",
            "probes": "probes out of the manifest",
            "neutral": "neutral sentences that come with this package and have nothing to do with its task",
        }
        answers = "with the wanted answers" if self.labelled else "with the answers that the soft prompt itself gives"
        return f"{len(self.samples)} {kinds[self.origin]}, {answers}"


def choose_samples(
    model: FrozenModel,
    soft_prompt: SoftPrompt,
    rows: Sequence[Mapping[str, str]] | None,
    *,
    target: str | None = None,
    input_field: str | None = None,
    room: int | None = None,
) -> Samples:
    """The inputs to watch a soft prompt on: rows, else the manifest's probes, else neutral texts.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.
        rows: Rows with the fields its messages ask for.
        target: The field of the wanted answer.
        input_field: The field to send as it is, where the manifest does not say which messages go with the soft prompt.
        room: Most tokens of text and answer together; longer samples are left out.

    Raises:
        EvaluationError: The rows don't fit the messages, nobody says what to send, or not one sample fits.
        ChatTemplateError: The model's chat template refuses the messages.
    """
    if rows is not None:
        found, origin = _from_rows(model, soft_prompt, rows, target, input_field), "rows"
    elif (probes := soft_prompt.manifest.probes if soft_prompt.manifest else None) is not None and probes.probes:
        found, origin = [_from_probe(model, probe.messages, probe.token_ids) for probe in probes.probes], "probes"
    else:
        found, origin = _neutral(model, soft_prompt), "neutral"
    fitting = [sample for sample in found if room is None or len(sample.text) + len(sample.wanted) <= room]
    if not fitting:
        msg = (
            f"rows: expected texts of at most {room} tokens, the room the soft prompt leaves in the context, found none among {len(found)}."
        )
        raise EvaluationError(msg)
    return Samples(tuple(fitting), origin, all(sample.wanted for sample in fitting), len(found) - len(fitting))


def inputs_of(soft_prompt: SoftPrompt, input_field: str | None) -> tuple[TemplateMessage, ...]:
    """The messages that are sent with a soft prompt.

    Raises:
        EvaluationError: Neither the manifest nor `input_field` says.
        TrainingDataError: They have no plain fields: a file from elsewhere may not ask for more than to be filled in.
    """
    inputs: tuple[TemplateMessage, ...] = ()
    if input_field is not None:
        inputs = (TemplateMessage(role="human", template=f"{{{input_field}}}"),)
    elif soft_prompt.manifest is not None:
        inputs = tuple(soft_prompt.manifest.input_messages)
    if not inputs:
        msg = f"input: {soft_prompt.source} does not say which messages to send with it. Name the field to send: --input text."
        raise EvaluationError(msg)
    HardPrompt((TemplateMessage(role="system", template="-"), *inputs), soft_prompt.source)  # refuses what is no plain template
    return inputs


def hard_prompt_ids(model: FrozenModel, soft_prompt: SoftPrompt) -> list[int] | None:
    """Token ids of the hard prompt a soft prompt was made with, where it is one that this model can read."""
    try:
        prompt = hard_prompt_of(soft_prompt)
        return instruction_ids(model, prompt) or None if prompt is not None else None
    except SoftPromptError:  # A stranger's template that is none, or a model without tokenizer.
        return None


def render(model: FrozenModel, chat: list[dict[str, Any]], answer: str | None, *, drop_default_system: bool) -> Example:
    """A chat as it is read in service, and the answer, if there is one, as the model would have to write it.

    Raises:
        ChatTemplateError: The model's chat template refuses the messages in every form.
    """
    if model.tokenizer is None:
        msg = f"{model.name} was wrapped without a tokenizer, and messages are text."
        raise ChatTemplateError(msg)
    if not getattr(model.tokenizer, "chat_template", None):
        text = encode_text(model.tokenizer, "\n".join(str(message["content"]) for message in chat))
        ends = model.eos_token_ids[:1]
        return Example(tuple(text), () if answer is None else (*encode_text(model.tokenizer, f" {answer}"), *ends))
    tokenizer = model.tokenizer

    def example(form: list[dict[str, Any]], drop: bool) -> Example:  # noqa: FBT001 - `in_first_form` calls it
        if answer is not None and model.eos_token_ids:
            return example_of(model, form, answer, drop_default_system=drop)
        return Example(tuple(render_chat(tokenizer, form, drop_default_system=drop)), ())

    return in_first_form(chat, example, drop_default_system=drop_default_system)


def answered(sample: Sample, answer: Sequence[int]) -> Example:
    """A sample followed by an answer."""
    return Example(sample.text, tuple(answer))


def wanted_examples(samples: Samples) -> list[Example]:
    """The samples followed by the wanted answers."""
    return [Example(sample.text, sample.wanted) for sample in samples.samples]


def with_answers(samples: Samples, answers: Sequence[Sequence[int]]) -> Samples:
    """The same samples, with answers in place of the wanted ones that nobody knows."""
    changed = [replace(sample, wanted=tuple(answer)) for sample, answer in zip(samples.samples, answers, strict=True)]
    return replace(samples, samples=tuple(changed))


def _from_rows(
    model: FrozenModel, soft_prompt: SoftPrompt, rows: Sequence[Mapping[str, str]], target: str | None, input_field: str | None
) -> list[Sample]:
    inputs = inputs_of(soft_prompt, input_field)
    fields = fields_of(inputs, soft_prompt.source)
    for number, row in enumerate(rows, start=1):
        for field in (*fields, *([target] if target is not None else [])):
            if not isinstance(row.get(field), str):
                msg = f"rows: row {number}: field {field!r}: expected text, found {row.get(field)!r}. Its messages ask for it."
                raise EvaluationError(msg)
    found = []
    for row in rows:
        answer = row[target] if target is not None else None
        example = render(model, fill(inputs, row), answer, drop_default_system=soft_prompt.drop_default_system)
        shown = row[fields[0]] if len(fields) == 1 else "\n".join(f"{field}: {row[field]}" for field in fields)
        found.append(Sample(shown, example.text, example.completion))
    return found


def _from_probe(model: FrozenModel, messages: Sequence[Mapping[str, str]], token_ids: Sequence[int]) -> Sample:
    if messages:
        shown = "\n".join(message.get("content", "") for message in messages)
    else:
        shown = str(model.tokenizer.decode(list(token_ids))) if model.tokenizer is not None else f"{len(token_ids)} tokens"
    return Sample(shown, tuple(token_ids))


def _neutral(model: FrozenModel, soft_prompt: SoftPrompt) -> list[Sample]:
    drop = soft_prompt.drop_default_system
    texts = neutral_texts()[:_NEUTRAL_TEXTS]
    rendered = [render(model, [{"role": "user", "content": text}], None, drop_default_system=drop) for text in texts]
    return [Sample(text, example.text) for text, example in zip(texts, rendered, strict=True)]


__all__ = ["Sample", "Samples", "answered", "choose_samples", "hard_prompt_ids", "inputs_of", "render", "wanted_examples", "with_answers"]
