"""Soft prompts as they were made once, for the tiny model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langchain_softprompt.engine import Engine
from langchain_softprompt.evaluation import EvaluationOptions, evaluate, soft_prompt_arm
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.messages import TextStream
from langchain_softprompt.prefix import with_probes
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, SoftPrompt, TemplateMessage
from langchain_softprompt.testing import tiny_soft_prompt

QUESTIONS = ("What is a soft prompt?", "Hello there", "7 times 8", "Why not?")
CHATS = [[{"role": "user", "content": question}] for question in QUESTIONS[:3]]


def made(model: FrozenModel, *, probes: bool = True, seed: int = 1, **manifest: Any) -> SoftPrompt:
    """A soft prompt of today."""
    base = BaseModelRecord(id=model.name, fingerprint=model.fingerprint)
    facts = {
        "base_model": base,
        "method": "test",
        "input_messages": [TemplateMessage(role="human", template="{text}")],
        "drop_default_system": True,
        **manifest,
    }
    soft_prompt = replace(tiny_soft_prompt(seed), manifest=Manifest(**facts), source="acme/old")
    return with_probes(soft_prompt, model, CHATS) if probes else soft_prompt


def scaled(soft_prompt: SoftPrompt, factor: float) -> SoftPrompt:
    """The same with other numbers."""
    return replace(soft_prompt, tensors={"prompt_embeddings": factor * soft_prompt.tensors["prompt_embeddings"]})


def rows(model: FrozenModel, soft_prompt: SoftPrompt, *, tokens: int = 3) -> list[dict[str, str]]:
    """Rows whose wanted answers are what the soft prompt answers, but for the last one."""
    answers = []
    with Engine(model) as engine:
        for question in QUESTIONS:
            ids = render_chat(model.tokenizer, [{"role": "user", "content": question}], drop_default_system=True)
            result = engine.submit(ids, soft_prompt=soft_prompt, settings=GenerationSettings(max_new_tokens=tokens)).result()
            stream = TextStream(model.tokenizer)
            answers.append(stream.push(result.token_ids) + stream.finish())
    answers[-1] += "?"
    return [{"text": question, "answer": answer} for question, answer in zip(QUESTIONS, answers, strict=True)]


def evaluated(model: FrozenModel, soft_prompt: SoftPrompt, known: list[dict[str, str]], *, tokens: int = 3) -> SoftPrompt:
    """With its evaluation on these rows on record."""
    options = EvaluationOptions(answers="free", max_tokens=tokens, resamples=200, knowledge=False)
    found = evaluate(
        model, [soft_prompt_arm(soft_prompt, name="it")], known, target="answer", metrics=["exact_match", "chrf"], options=options
    )
    return replace(soft_prompt, manifest=soft_prompt.manifest.model_copy(update={"evaluation": found.record()}))
