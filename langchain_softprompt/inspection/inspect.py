"""inspect_soft_prompt(): one look at everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from langchain_softprompt import __version__
from langchain_softprompt.data import Example
from langchain_softprompt.errors import ChatTemplateError, InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.ablation import ablate
from langchain_softprompt.inspection.answers import greedy_answers
from langchain_softprompt.inspection.attention import measure_attention
from langchain_softprompt.inspection.description import describe
from langchain_softprompt.inspection.drift import find_start, measure_drift
from langchain_softprompt.inspection.identity import identify
from langchain_softprompt.inspection.influence import measure_influence
from langchain_softprompt.inspection.inspection import Inspection
from langchain_softprompt.inspection.nearest import find_nearest
from langchain_softprompt.inspection.norms import measure_norms
from langchain_softprompt.inspection.samples import Samples, choose_samples, hard_prompt_ids, wanted_examples, with_answers
from langchain_softprompt.prefix import KVPrefix, TokenIds, compile_segments
from langchain_softprompt.soft_prompt import SoftPrompt

OnProgress = Callable[[str, int, int], None]

_QUICK = "only a quick inspection was asked for"
_WATCHED = ("ablation", "influence", "attention", "description", "nearest")


def inspect_soft_prompt(
    model: FrozenModel,
    soft_prompt: SoftPrompt,
    rows: Sequence[Mapping[str, str]] | None = None,
    *,
    target: str | None = None,
    input_field: str | None = None,
    initial: SoftPrompt | None = None,
    quick: bool = False,
    max_answer_tokens: int = 24,
    ablation_rows: int = 8,
    allow_other_model: bool = False,
    on_progress: OnProgress | None = None,
) -> Inspection:
    """Look inside a soft prompt: what it is, what it does, and what of it does that.

    Args:
        model: The frozen model; no engine may be using it meanwhile.
        soft_prompt: The soft prompt.
        rows: Inputs to watch it on, with the fields its messages ask for. Without them the probes in its manifest are taken,
            and without those a few neutral sentences.
        target: The field that holds the wanted answer. Without it losses are those of the soft prompt's own answers.
        input_field: The field to send as it is, where the manifest does not say which messages go with the soft prompt.
        initial: What it started as, where that is not kept beside it and can't be computed again.
        quick: Only identity, norms and drift: neither inputs nor answers are needed.
        max_answer_tokens: Most tokens of an answer.
        ablation_rows: Take the soft prompt apart on the first so many inputs only: each is read once for each virtual token.
        allow_other_model: Take a soft prompt that was made for another model, if its shapes fit.
        on_progress: Called with what is being done, how much of it is done, and of how much.

    Returns:
        What was found out; what could not be found out, with the reason.

    Raises:
        ModelMismatchError: It was made for another model, or does not fit this one.
        NonFiniteSoftPromptError: Its numbers overflow in the model.
        EvaluationError: The rows don't fit the messages that are sent with it.
        InvalidSettingsError: `initial` is of another length, or a setting is out of range.
    """
    for name, number in (("max_answer_tokens", max_answer_tokens), ("ablation_rows", ablation_rows)):
        if number < 1:
            msg = f"{name}: expected at least 1, found {number}."
            raise InvalidSettingsError(msg)
    began = time.perf_counter()
    identity, prefix = identify(model, soft_prompt, allow_other_model=allow_other_model)
    look = _Look(model, soft_prompt, prefix, allow_other_model, on_progress, {})
    found: dict[str, Any] = {"norms": measure_norms(model, soft_prompt, prefix)}
    start = look.drift(initial, found)
    if quick:
        look.left_out |= dict.fromkeys(_WATCHED, _QUICK)
    else:
        room = None if model.max_positions is None else model.max_positions - prefix.length - max_answer_tokens
        samples = look.samples(lambda: choose_samples(model, soft_prompt, rows, target=target, input_field=input_field, room=room))
        if samples is not None:
            look.watch(samples, found, start, max_tokens=max_answer_tokens, ablation_rows=ablation_rows)
    return Inspection(
        identity,
        **found,
        left_out={name: look.left_out[name] for name in sorted(look.left_out)},
        environment={
            "langchain_softprompt": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "dtype": identity.model_dtype,
            "device": str(model.device),
        },
        seconds=time.perf_counter() - began,
    )


@dataclass(slots=True)
class _Look:
    model: FrozenModel
    soft_prompt: SoftPrompt
    prefix: KVPrefix
    allow_other_model: bool
    on_progress: OnProgress | None
    left_out: dict[str, str]

    def drift(self, initial: SoftPrompt | None, found: dict[str, Any]) -> KVPrefix | None:
        start = find_start(self.model, self.soft_prompt, initial, allow_other_model=self.allow_other_model)
        if isinstance(start, str):
            self.left_out["drift"] = start
            return None
        found["drift"], compiled = measure_drift(
            self.model, self.soft_prompt, self.prefix, *start, allow_other_model=self.allow_other_model
        )
        return compiled

    def samples(self, choose: Callable[[], Samples]) -> Samples | None:
        """Inputs to watch it on, where the model reads text at all."""
        try:
            return choose()
        except ChatTemplateError as error:
            if self.model.tokenizer is not None:
                raise
            self.left_out |= dict.fromkeys(_WATCHED, str(error))
            return None

    def watch(self, samples: Samples, found: dict[str, Any], start: KVPrefix | None, *, max_tokens: int, ablation_rows: int) -> None:
        """Everything that needs inputs."""
        answers, bare = self._answers(samples, max_tokens)
        own = with_answers(samples, answers)
        found["samples"] = str(samples)
        if samples.too_long:
            found["notes"] = (f"{samples.too_long} inputs were left out: with an answer they don't fit the model's context.",)
        judged = wanted_examples(samples if samples.labelled else own)[:ablation_rows]
        found["ablation"] = ablate(self.model, self.soft_prompt, self.prefix, judged, start=start, on_progress=self._told("ablation"))
        found["influence"] = measure_influence(
            self.model, self.prefix, samples, answers, bare, hard_prompt=self._hard_prompt(), on_progress=self._told("influence")
        )
        if self.model.reuses_prefix:
            texts = [sample.text for sample in samples.samples]
            found["attention"] = measure_attention(self.model, self.prefix, texts, on_progress=self._told("attention"))
        else:
            self.left_out["attention"] = "this model does not start from keys and values; not all its layers attend"
        self._describe(wanted_examples(own), found)
        nearest = find_nearest(self.model, self.soft_prompt)
        if isinstance(nearest, str):
            self.left_out["nearest"] = nearest
        else:
            found["nearest"] = nearest

    def _answers(self, samples: Samples, max_tokens: int) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        texts = [sample.text for sample in samples.samples]
        asked: list[tuple[Sequence[int], SoftPrompt | None]] = [(text, one) for one in (self.soft_prompt, None) for text in texts]
        done, told = 0, self._told("answers")

        def on_answer() -> None:
            nonlocal done
            done += 1
            told(done, len(asked))

        answers = greedy_answers(self.model, asked, max_tokens=max_tokens, allow_other_model=self.allow_other_model, on_answer=on_answer)
        return answers[: len(texts)], answers[len(texts) :]

    def _hard_prompt(self) -> KVPrefix | None:
        """What the soft prompt stands in place of."""
        ids = hard_prompt_ids(self.model, self.soft_prompt)
        return compile_segments(self.model, [TokenIds(ids)]) if ids else None

    def _describe(self, examples: Sequence[Example], found: dict[str, Any]) -> None:
        if self.model.tokenizer is None or not getattr(self.model.tokenizer, "chat_template", None):
            self.left_out["description"] = f"{self.model.name} has no chat template, so it can't be asked"
            return
        found["description"] = describe(
            self.model,
            self.soft_prompt,
            self.prefix,
            examples,
            allow_other_model=self.allow_other_model,
            on_progress=self._told("description"),
        )

    def _told(self, what: str) -> Callable[[int, int], None]:
        def told(done: int, total: int) -> None:
            if self.on_progress is not None:
                self.on_progress(what, done, total)

        return told


__all__ = ["inspect_soft_prompt"]
