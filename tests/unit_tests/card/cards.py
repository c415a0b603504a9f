"""Soft prompts to describe, and cards read back by other people's code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from langchain_softprompt.card import write_card
from langchain_softprompt.soft_prompt import Manifest, SoftPrompt
from langchain_softprompt.testing import tiny_soft_prompt

BASE = "acme/base"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FINGERPRINT = "f" * 64
REPO = "acme/homes"
SECTIONS = [
    "Use it with LangChain",
    "Use it with plain PEFT",
    "What is sent with it",
    "How good it is",
    "What it learned from",
    "How it was made",
    "Does it still do that?",
    "Limits and risks",
]
# What a renderer may make a link of by itself, without any mark-up.
LINKABLE = re.compile(r"://|www\.|@", re.IGNORECASE)


def manifest(**facts: Any) -> dict[str, Any]:
    """A manifest that says all there is to say."""
    return {
        "description": "Says where an animal lives.",
        "base_model": {"id": BASE, "revision": COMMIT, "fingerprint": FINGERPRINT},
        "method": "kv-prefix",
        "hard_prompt": [{"role": "system", "template": "Say where the animal lives."}, {"role": "human", "template": "Animal: {text}"}],
        "input_messages": [{"role": "human", "template": "Animal: {text}"}],
        "drop_default_system": True,
        "training": {"steps_done": 40, "best_step": 30, "learning_rate": 0.005, "batch_size": 8, "target": "home", "residual": False},
        "seeds": [3],
        "data": {"digest": "d" * 64, "rows": 1200, "validation_rows": 100, "source": "homes.jsonl", "licence": "CC BY 4.0"},
        "scores": {"validation_loss": 0.25},
        "created": "2026-11-27",
        "package_version": "0.1.0",
        **facts,
    }


def soft_prompt(**facts: Any) -> SoftPrompt:
    """A random soft prompt with such a manifest."""
    return tiny_soft_prompt(1, manifest=Manifest.from_json(manifest(**facts)), source="prompts/homes")


def evaluation(**facts: Any) -> dict[str, Any]:
    """An evaluation, as the command line prints it."""
    arms = [
        _arm("prompts/homes", "soft prompt", 0.86, virtual_tokens=4),
        _arm("hard prompt", "hard prompt", 0.63),
        _arm("hard prompt + 5 examples", "few-shot", 0.58),
    ]
    return {
        "task": "classification",
        "target": "home",
        "rows": 500,
        "data": "e" * 64,
        "source": "/home/jdoe/secret project/test.jsonl",
        "metrics": [
            {
                "name": "accuracy",
                "meaning": "Share of rows answered rightly.",
                "answers": "choices",
                "scale": "share",
                "higher_is_better": True,
            },
            {"name": "perplexity", "meaning": "Wavering.", "answers": "wanted", "scale": "number", "higher_is_better": False},
        ],
        "arms": arms,
        "comparisons": [
            {
                "metric": "accuracy",
                "arm": "prompts/homes",
                "other": "hard prompt",
                "difference": 0.23,
                "interval": {"low": 0.2, "high": 0.26},
                "p_value": 0.0004,
                "test": "McNemar",
                "better": True,
                "verdict": "better",
            },
        ],
        "gaps": [{"arm": "prompts/homes", "metric": "accuracy", "verdict": "No over-fitting shows."}],
        "knowledge": [{"arm": "prompts/homes", "verdict": "Text about other things is hardly read another way."}],
        "left_out": {"initialisation": "it started as the whole hard prompt, whose scores stand above"},
        "notes": ["prompts/homes: 3 of 500 rows could not be answered and count as wrong."],
        "settings": {"task": "classification", "answers": "choices", "max_tokens": 12, "decoding": "greedy", "seed": 0, "few_shot": 5},
        "environment": {"model": "/home/jdoe/base", "fingerprint": FINGERPRINT, "dtype": "bfloat16", "torch": "2.13.0"},
        "created": "2026-11-28",
        **facts,
    }


def _arm(name: str, kind: str, accuracy: float, *, virtual_tokens: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "scores": {
            "accuracy": {"value": accuracy, "interval": {"low": accuracy - 0.03, "high": accuracy + 0.03}},
            "perplexity": {"value": 1.5, "interval": {"low": 1.25, "high": 1.75}},
        },
        "virtual_tokens": virtual_tokens,
        "read_tokens": 99.4,
    }


def card(about: SoftPrompt | None = None, **arguments: Any) -> str:
    """The card of a soft prompt."""
    return write_card(about or soft_prompt(), REPO, **arguments)


def front(text: str) -> dict[str, Any]:
    """What the Hub's own client reads at the head of a card."""
    read: dict[str, Any] = ModelCard(text).data.to_dict()
    return read


def tokens(text: str) -> list[Token]:
    """A card's text as a Markdown renderer takes it apart."""
    return MarkdownIt("commonmark").enable("table").parse(ModelCard(text).text)


def blocks(text: str, language: str) -> list[str]:
    """Its blocks of code in a language."""
    return [token.content for token in tokens(text) if token.type == "fence" and token.info == language]


def inside(text: str) -> Iterator[Token]:
    """What its lines consist of."""
    for token in tokens(text):
        yield from token.children or []


def read(text: str) -> str:
    """What a reader sees of it, without blocks of code."""
    return "\n".join(seen(token) for token in tokens(text) if token.type == "inline")


def seen(line: Token) -> str:
    """What a reader sees of some lines."""
    return "".join("\n" if each.type == "softbreak" else each.content for each in line.children or [])


def sections(text: str) -> list[str]:
    """Its headings."""
    found = tokens(text)
    return [found[place + 1].content for place, token in enumerate(found) if token.type == "heading_open" and token.tag == "h2"]
