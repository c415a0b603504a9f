"""Probes: short texts read again, to see whether a soft prompt still makes the model say what it said when it was recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_softprompt.errors import InvalidSoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.passes import RowPart
from langchain_softprompt.hub.local import MANIFEST_FILE
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.prefix.probe_report import ProbeOutcome, ProbeReport, compare_probe, report_of
from langchain_softprompt.soft_prompt import ProbeRecord, ProbesRecord

# Probes are read in one pass as long as their caches stay small.
_COLUMNS_A_PASS = 2048


@torch.inference_mode()
def run_probes(model: FrozenModel, prefix: KVPrefix, record: ProbesRecord, *, most_tokens: int | None = None) -> ProbeReport:
    """Read recorded probes again, with the passes that serve, and compare.

    Args:
        model: The frozen model.
        prefix: The compiled soft prompt.
        record: The probes.
        most_tokens: Read only so many positions: the first probes that fit. Soft rows that the model can't keep and has
            to read again count each time.

    Returns:
        What came of it, probe by probe.

    Raises:
        InvalidSoftPromptError: The record names tokens that the model does not have, or is longer than its context.
    """
    check_record(model, prefix, record)
    chosen, left = [], math.inf if most_tokens is None else most_tokens
    again = 0 if prefix.embeddings is None else prefix.length
    for number, probe in enumerate(record.probes, start=1):
        left -= len(probe.token_ids) + again
        if left < 0:
            break
        chosen.append((number, probe))
    logits = read_texts(model, prefix, [probe.token_ids for _, probe in chosen])
    outcomes = tuple(_compare(number, probe, one) for (number, probe), one in zip(chosen, logits, strict=True))
    return report_of(record, outcomes, model.quantization or str(model.dtype).removeprefix("torch."))


def read_texts(model: FrozenModel, prefix: KVPrefix, texts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits after each of some texts that follow a compiled prefix, float32, ``[vocab_size]``; one pass where it can be."""
    together = model.passes.reads_together and sum(prefix.length + len(text) for text in texts) <= _COLUMNS_A_PASS
    found: list[Tensor | None] = []
    if together and texts:
        found = model.passes.read([_part(model, prefix, text) for text in texts])
    else:
        for text in texts:  # One cache at a time.
            found += model.passes.read([_part(model, prefix, text)])
    return [logits.float() for logits in found if logits is not None]


def check_record(model: FrozenModel, prefix: KVPrefix, record: ProbesRecord) -> None:
    """Refuse a record that can't be read on a model.

    Raises:
        InvalidSoftPromptError: It names tokens that the model does not have, or is longer than its context.
    """
    for place, probe in enumerate(record.probes):
        for field, ids in (("token_ids", probe.token_ids), ("next_ids", probe.next_ids)):
            if max(ids) >= model.vocab_size:
                raise _unreadable(place, field, f"token ids from 0 to {model.vocab_size - 1}, which {model.name} has", str(max(ids)))
        room = None if model.max_positions is None else model.max_positions - prefix.length
        if room is not None and len(probe.token_ids) > room:
            raise _unreadable(place, "token_ids", f"at most {room}, the room {model.name} leaves", str(len(probe.token_ids)))


def _unreadable(place: int, field: str, expected: str, found: str) -> InvalidSoftPromptError:
    hint = "The probes were recorded on another model; record them again: langchain-softprompt check --record."
    return InvalidSoftPromptError(file=MANIFEST_FILE, field=f"probes.{place}.{field}", expected=expected, found=found, hint=hint)


def _part(model: FrozenModel, prefix: KVPrefix, text: Sequence[int]) -> RowPart:
    ids = torch.tensor([list(text)], dtype=torch.long, device=model.device)
    if prefix.embeddings is not None:
        return RowPart(model.new_cache(), 0, inputs_embeds=torch.cat([prefix.embeddings, model.embed(ids[0])])[None])
    if not model.reuses_prefix:
        return RowPart(prefix.to_cache(model), prefix.length, input_ids=ids)
    cache = ColumnCache(1, prefix.length + len(text))
    for index, (keys, values) in prefix.by_layer().items():
        cache.write(index, 0, 0, keys, values)
    cache.window.end = prefix.length
    return RowPart(cache, prefix.length, input_ids=ids)


def _compare(number: int, probe: ProbeRecord, logits: Tensor) -> ProbeOutcome:
    if not bool(torch.isfinite(logits.max())):
        return compare_probe(number, probe, None, None)
    return compare_probe(number, probe, log_probs_of(logits, probe.next_ids), int(logits.argmax()))


def log_probs_of(logits: Tensor, token_ids: Sequence[int]) -> Tensor:
    """Log-probabilities of some tokens, float64 on the CPU."""
    return logits.cpu().double().log_softmax(dim=-1)[torch.tensor(list(token_ids))]


__all__ = ["check_record", "log_probs_of", "read_texts", "run_probes"]
