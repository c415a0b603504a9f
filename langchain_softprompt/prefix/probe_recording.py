"""Probes are chosen and recorded when a soft prompt is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers
from pydantic import ValidationError
from torch import Tensor

from langchain_softprompt.errors import ChatTemplateError, ContextLengthError, InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.hub.local import MANIFEST_FILE
from langchain_softprompt.prefix.compiling import compile_prefix, non_finite_answers
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.prefix.probe_report import divergence
from langchain_softprompt.prefix.probes import log_probs_of, read_texts
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, ProbeRecord, ProbesRecord, SoftPrompt
from langchain_softprompt.soft_prompt.manifest import MOST_PROBE_TOKENS, MOST_PROBES, invalid_field

Message = Mapping[str, Any]
ProbeText = tuple[Sequence[Message], Sequence[int]]

RECORDED_TOKENS = 8
SHORT_TOKENS = 48
LONG_TOKENS = 1024
# Together no longer than what is read unasked when a soft prompt is loaded: see `probe_watch`.
ALL_TOKENS = 256


def choose_probes(texts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]] | None = None, *, count: int = 3) -> list[int]:
    """Choose a few short texts that differ, whatever order they come in.

    They come from the shortest quarter of the texts of at most 48 tokens (of the shortest, where there are not enough), as
    they are read whenever the soft prompt is loaded afresh; spread over the answers, and over the lengths of the texts within
    them. Together they have at most 256 tokens, unless one alone has more.

    For training::

        chosen = choose_probes([example.text for example in examples], [example.completion for example in examples])
        soft_prompt = with_probes(soft_prompt, model, [fill(prompt.inputs, rows[number]) for number in chosen])

    Args:
        texts: Token ids of each text, as it is read after the soft prompt: `Example.text`.
        answers: Token ids of each answer: `Example.completion`.
        count: How many to choose.

    Returns:
        Their places in `texts`, in order; fewer where there are not as many different texts of at most 1024 tokens.
    """
    first = {tuple(text): place for place, text in reversed(list(enumerate(texts))) if 0 < len(text) <= LONG_TOKENS}
    places = sorted(first.values(), key=lambda place: (len(texts[place]), tuple(texts[place])))
    short = [place for place in places if len(texts[place]) <= SHORT_TOKENS]
    known = short if len(short) >= count else places[:count]
    known = known[: max(4 * count, len(known) // 4)]
    if answers is not None:
        known = sorted(known, key=lambda place: (tuple(answers[place]), len(texts[place]), tuple(texts[place])))
    size = min(count, len(known))
    chosen = [known[(2 * turn + 1) * len(known) // (2 * size)] for turn in range(size)]
    while len(chosen) > 1 and sum(len(texts[place]) for place in chosen) > ALL_TOKENS:
        chosen.remove(max(chosen, key=lambda place: len(texts[place])))
    return sorted(chosen)


@torch.inference_mode()
def record_probes(model: FrozenModel, prefix: KVPrefix, texts: Sequence[ProbeText]) -> ProbesRecord:
    """Write down what the model says to some texts after a soft prompt: its 8 likeliest next tokens.

    How far it is from that without the soft prompt is written down, too, so that a later difference can be told as a share.

    Args:
        model: The frozen model.
        prefix: The compiled soft prompt, of the numbers as they will be stored: rounding them later would be drift.
        texts: Chat messages and the token ids they were rendered to; messages may be empty where there are none.

    Raises:
        InvalidSettingsError: There are no texts, more than 16, more than 4096 tokens in all, or a message of more than 20,000
            letters.
        ContextLengthError: A text does not fit the model's context behind the soft prompt.
        NonFiniteSoftPromptError: The model says NaN or Inf.
    """
    total = sum(len(token_ids) for _, token_ids in texts)
    if not 0 < len(texts) <= MOST_PROBES or total > MOST_PROBE_TOKENS or not all(len(token_ids) for _, token_ids in texts):
        msg = f"probes: expected 1 to {MOST_PROBES} texts of at most {MOST_PROBE_TOKENS} tokens in all, found {len(texts)} of {total}."
        raise InvalidSettingsError(msg)
    longest = max(len(token_ids) for _, token_ids in texts)
    if model.max_positions is not None and prefix.length + longest > model.max_positions:
        msg = (
            f"A probe of {longest} tokens after {prefix.length} virtual tokens does not fit the {model.max_positions} positions "
            f"of {model.name}. Choose shorter texts."
        )
        raise ContextLengthError(msg)
    ids = [[int(token) for token in token_ids] for _, token_ids in texts]
    answers = zip(texts, ids, read_texts(model, prefix, ids), read_texts(model, KVPrefix(0), ids), strict=True)
    probes = [_probe(messages, text, logits, bare) for (messages, _), text, logits, bare in answers]
    return ProbesRecord(
        probes=probes,
        dtype=str(model.dtype).removeprefix("torch."),
        quantization=model.quantization or "",
        device=model.device.type,
        transformers=transformers.__version__,
        torch=torch.__version__,
    )


def _probe(messages: Sequence[Message], token_ids: list[int], logits: Tensor, bare: Tensor) -> ProbeRecord:
    if not bool(torch.isfinite(logits.max())):
        raise non_finite_answers()
    top = [token for token in logits.topk(min(RECORDED_TOKENS, logits.shape[-1])).indices.tolist() if bool(torch.isfinite(logits[token]))]
    log_probs = log_probs_of(logits, top)
    effect = divergence(log_probs, log_probs_of(bare, top))
    try:
        return ProbeRecord(
            messages=[{str(name): str(value) for name, value in message.items()} for message in messages],
            token_ids=token_ids,
            next_ids=top,
            log_probs=[min(0.0, round(value, 6)) for value in log_probs.tolist()],
            effect=round(effect, 6) if math.isfinite(effect) else None,
        )
    except ValidationError as error:
        msg = f"A probe can't be stored: {invalid_field(MANIFEST_FILE, error)} Choose shorter texts."
        raise InvalidSettingsError(msg) from error


def with_probes(
    soft_prompt: SoftPrompt, model: FrozenModel, messages: Sequence[Sequence[Message]], *, allow_other_model: bool = False
) -> SoftPrompt:
    """The same soft prompt with probes in its manifest, in place of those it had.

    The messages are stored as they are, so choose ones that everybody may read who gets the soft prompt.

    Args:
        soft_prompt: The soft prompt as it will be stored. One without a manifest gets one that says it was made for `model`.
        model: The frozen model it was made for.
        messages: For each probe its chat messages, as `data.fill` fills them from a row; without any it gets no probes.
        allow_other_model: Record on another model than the manifest names.

    Raises:
        ChatTemplateError: There is no tokenizer, or its chat template refuses the messages.
        SoftPromptError: The soft prompt does not compile, or a text is too long; see `record_probes`.
    """
    if model.tokenizer is None:
        msg = f"{model.name} was wrapped without a tokenizer, and rendering chats needs one."
        raise ChatTemplateError(msg)
    manifest = soft_prompt.manifest or Manifest(
        base_model=BaseModelRecord(id=model.name, revision=model.revision, fingerprint=model.fingerprint), method="imported"
    )
    plain = replace(soft_prompt, manifest=manifest.model_copy(update={"probes": None}))
    if not messages:
        return plain
    drop = manifest.drop_default_system
    texts = [(chat, render_chat(model.tokenizer, chat, drop_default_system=drop)) for chat in messages]
    record = record_probes(model, compile_prefix(model, plain, allow_other_model=allow_other_model), texts)
    return replace(soft_prompt, manifest=manifest.model_copy(update={"probes": record}))


__all__ = ["ALL_TOKENS", "SHORT_TOKENS", "choose_probes", "record_probes", "with_probes"]
