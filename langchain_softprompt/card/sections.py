"""Sections: what the card's template is filled with. A fact that nobody recorded is `None` or empty, and the template says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_softprompt import __version__
from langchain_softprompt.card.base_model import BaseModel
from langchain_softprompt.card.code import Code, usable_inputs
from langchain_softprompt.card.front_matter import hub_dataset
from langchain_softprompt.card.markdown import Markdown, code, fenced, table, without_folders, words
from langchain_softprompt.card.scores import Scores, spelled
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import DataRecord, Manifest, SoftPrompt, TemplateMessage

_HUB = "https://huggingface.co"
_KINDS = {
    "PROMPT_TUNING": "rows of embeddings",
    "P_TUNING": "rows of embeddings",
    "CPT": "rows of embeddings",
    "MULTITASK_PROMPT_TUNING": "rows of embeddings, shared by several tasks",
    "PREFIX_TUNING": "keys and values of every layer",
    "CARTRIDGE": "keys and values of every layer",
}
# What of a run is worth telling, in this order.
_TRAINING = {
    "steps_done": "steps",
    "best_step": "step that was kept",
    "learning_rate": "learning rate",
    "batch_size": "rows a step",
    "warmup_share": "share of steps to warm up",
    "clip_norm": "gradient clipped at",
    "select_by": "best step chosen by",
    "init": "started as",
    "teacher_tokens": "tokens of the prompt it was distilled from",
    "tokens": "tokens read",
    "seconds": "seconds",
}
_SCORES = {
    "validation_loss": "loss (lower is better)",
    "validation_exact_match": "exact match, free answer",
    "initial_validation_loss": "loss before the first step",
    "initial_validation_exact_match": "exact match before the first step",
    "kl": "divergence from the long prompt's answers, nats a token (lower is better)",
    "agreement": "answers that are the long prompt's, token by token",
    "initial_kl": "divergence before the first step",
    "initial_agreement": "the same answers before the first step",
}
_MOST_MESSAGES = 8
_MOST_TASKS = 50
_MOST_SCORES = 30


def fill_sections(
    soft_prompt: SoftPrompt, ref: SoftPromptRef, base: BaseModel, blocks: Code, scores: Scores | None, *, licence_of_data: bool
) -> dict[str, Any]:
    """What the template is filled with.

    Args:
        soft_prompt: The soft prompt.
        ref: Its repository.
        base: Its base model.
        blocks: Code that uses it.
        scores: Its scores.
        licence_of_data: Whether the licence in the front matter is that of the data.
    """
    manifest = soft_prompt.manifest
    data = manifest.data if manifest else None
    probes = manifest.probes if manifest else None
    inputs = usable_inputs(soft_prompt)
    return {
        "title": str(ref.repo_id).rpartition("/")[2],
        "description": manifest.description if manifest else "",
        "virtual_tokens": soft_prompt.num_virtual_tokens,
        "identity": table(("the soft prompt", ""), _identity(soft_prompt, base)),
        "embedded": base.is_embedded,
        "base_url": Markdown(f"{_HUB}/{base.hub_id}"),
        "gguf_file": Markdown(base.gguf_file),
        "langchain": fenced(blocks.langchain, "python", most=len(blocks.langchain)),
        "peft": fenced(blocks.peft, "python", most=len(blocks.peft)),
        "pinned": ref.revision is not None,
        "has_manifest": manifest is not None,
        "fingerprint": base.fingerprint is not None,
        "drop": soft_prompt.drop_default_system and all(message.role != "system" for message in inputs),
        "inputs": _messages(manifest.input_messages if manifest else []),
        "usable": bool(inputs),
        "hard_prompt": _messages(manifest.hard_prompt if manifest else []),
        **_judged(scores),
        "validation": _validation(manifest),
        "validation_rows": _count(data.validation_rows, "validation row") if data and data.validation_rows else "",
        "ref": Markdown(ref),
        "model": Markdown(base.model),
        "data": _data(data),
        "target": _target(manifest),
        "licence_of_data": licence_of_data,
        "distilled": manifest is not None and manifest.distilled,
        "marks": len(data.marks) if data else 0,
        "making": table(("the run", ""), _making(soft_prompt)),
        "probes": _count(len(probes.probes), "probe") if probes and probes.probes else "",
        "probed_on": _probed_on(manifest),
        "version": __version__,
    }


def _target(manifest: Manifest | None) -> Markdown:
    """The field it was trained on, where that is a word that can stand in a command."""
    target = manifest.training.get("target") if manifest else None
    return Markdown(target if isinstance(target, str) and re.fullmatch(r"[A-Za-z]\w{0,60}", target, re.ASCII) else "answer")


def _identity(soft_prompt: SoftPrompt, base: BaseModel) -> Iterator[tuple[object, object]]:
    numbers = sum(tensor.numel() for tensor in soft_prompt.tensors.values())
    yield "base model", Markdown(f"[{words(base.hub_id)}]({_HUB}/{base.hub_id})")
    if not base.is_embedded:
        yield "its commit", base.revision or "not recorded"
    yield "fingerprint of its weights", code(base.fingerprint) if base.fingerprint else "not recorded"
    yield "kind", Markdown(f"{_KINDS[soft_prompt.kind]} (PEFT type `{soft_prompt.kind}`)")
    yield "length", f"{soft_prompt.num_virtual_tokens} virtual tokens, {numbers:,} numbers"
    if soft_prompt.task is not None:
        tasks = soft_prompt.manifest.tasks if soft_prompt.manifest else []
        named = f" ({tasks[soft_prompt.task]})" if soft_prompt.task < len(tasks) else ""
        yield "task described here", f"number {soft_prompt.task}{named}"
        yield "all tasks", ", ".join(tasks[:_MOST_TASKS]) + ("…" if len(tasks) > _MOST_TASKS else "") or "names not recorded"


def _messages(messages: Sequence[TemplateMessage]) -> Markdown | None:
    if not messages:
        return None
    shown = [Markdown(f"{message.role}:\n\n{fenced(message.template)}") for message in messages[:_MOST_MESSAGES]]
    more = len(messages) - _MOST_MESSAGES
    if more > 0:
        shown.append(Markdown(f"And {_count(more, 'more message')}, in `soft_prompt.json`."))
    return Markdown("\n\n".join(shown))


def _judged(scores: Scores | None) -> dict[str, Any]:
    if scores is None:
        return {"scores": None}
    return {
        "scores": scores.table(),
        "folds": scores.folds,
        "other_weights": scores.other_weights,
        "rows": _count(scores.report.rows, "row"),
        "rows_source": scores.source,
        "comparisons": scores.comparisons(),
        "meanings": scores.meanings(),
        "findings": scores.findings(),
        "measured": scores.how(),
    }


def _validation(manifest: Manifest | None) -> Markdown | None:
    recorded = list(manifest.scores.items())[:_MOST_SCORES] if manifest else []
    return table(("score", ""), [(_SCORES.get(name, name), f"{value:.4g}") for name, value in recorded], numbers=True) if recorded else None


def _data(data: DataRecord | None) -> Markdown | None:
    if data is None:
        return None
    dataset = hub_dataset(data.source)
    address = Markdown(f"[{words(dataset)}]({_HUB}/datasets/{dataset})") if dataset else None
    rows: list[tuple[object, object]] = [
        ("from", address or without_folders(data.source, is_source=True) or "not recorded"),
        ("licence", data.licence or "not recorded"),
        ("training rows", f"{data.rows:,}"),
        ("validation rows", f"{data.validation_rows:,}"),
        ("SHA-256 over the training rows", code(data.digest)),
    ]
    return table(("data", ""), rows)


def _making(soft_prompt: SoftPrompt) -> Iterator[tuple[object, object]]:
    manifest = soft_prompt.manifest
    yield "method", manifest.method if manifest else Markdown(f"not recorded (PEFT type `{soft_prompt.kind}`)")
    if manifest is None:
        return
    for name, label in _TRAINING.items():
        value = manifest.training.get(name)
        if value not in (None, ""):
            yield label, spelled(value)
    yield "seeds", ", ".join(map(str, manifest.seeds)) or "not recorded"
    yield "date", manifest.created or "not recorded"
    yield "made by", f"langchain-softprompt {manifest.package_version}" if manifest.package_version else "not recorded"
    if manifest.tensors_sha256:
        yield Markdown("SHA-256 of `adapter_model.safetensors`"), code(manifest.tensors_sha256)


def _probed_on(manifest: Manifest | None) -> str:
    probes = manifest.probes if manifest else None
    if probes is None:
        return ""
    versions = [f"{name} {getattr(probes, name)}" for name in ("torch", "transformers") if getattr(probes, name)]
    return ", ".join(filter(None, (probes.dtype, probes.quantization, probes.device, *versions)))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


__all__ = ["fill_sections"]
