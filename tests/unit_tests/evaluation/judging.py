"""A task to judge on, and what transformers alone answers to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from langchain_softprompt.data import HardPrompt
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, SoftPrompt
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt

INSTRUCTIONS = "Say where the animal lives."
PROMPT = HardPrompt.from_pairs([("system", INSTRUCTIONS), ("human", "Animal: {text}")])
LABELS = ("farm", "sea", "seaside")
ROWS = [
    {"text": text, "label": label}
    for text, label in (
        ("cow", "farm"),
        ("blue whale", "sea"),
        ("hen", "farm"),
        ("shrimp", "sea"),
        ("goat (brown, with a white beard)", "farm"),
        ("eel", "sea"),
        ("gull", "seaside"),
        ("crab", "seaside"),
    )
]
TRAIN = [
    {"text": text, "label": label}
    for text, label in (("pig", "farm"), ("cod", "sea"), ("duck", "farm"), ("ray", "sea"), ("tern", "seaside"), ("seal", "seaside"))
]


def model() -> FrozenModel:
    return tiny_model()


def soft_prompt(on: FrozenModel, seed: int = 0, *, virtual_tokens: int = 4, **manifest: object) -> SoftPrompt:
    """A random soft prompt that says what it goes with."""
    about: dict[str, object] = {
        "base_model": BaseModelRecord(id=on.name, fingerprint=on.fingerprint),
        "method": "kv-prefix",
        "hard_prompt": list(PROMPT.messages),
        "input_messages": list(PROMPT.inputs),
        "drop_default_system": True,
        **manifest,
    }
    return tiny_soft_prompt(seed, virtual_tokens=virtual_tokens, manifest=Manifest.model_validate(about), source=f"soft-{seed}")


def read_by_hand(on: FrozenModel, row: dict[str, str], *, instructed: bool) -> list[int]:
    """Token ids of a row's chat, the assistant's turn opened."""
    assert on.tokenizer is not None
    chat = [{"role": "system", "content": INSTRUCTIONS}] if instructed else []
    return render_chat(on.tokenizer, [*chat, {"role": "user", "content": f"Animal: {row['text']}"}])


def chosen_by_hand(on: FrozenModel, ids: Sequence[int], labels: Sequence[str], soft: SoftPrompt | None) -> str:
    """The label that transformers' own `generate` walks to, one row alone."""
    assert on.tokenizer is not None
    spelled = [tuple(on.tokenizer.encode(label, add_special_tokens=False)) for label in labels]
    end = on.eos_token_ids[0]
    seeded, length = {}, 0
    if soft is not None:
        prefix = compile_prefix(on, soft)
        seeded, length = {"past_key_values": prefix.to_cache(on)}, prefix.length

    def allowed(_: int, read: torch.Tensor) -> list[int]:
        given = tuple(read[len(ids) :].tolist())
        come = {label[len(given)] for label in spelled if label[: len(given)] == given and len(label) > len(given)}
        return sorted(come | ({end} if given in spelled else set()))

    output = on.model.generate(
        input_ids=torch.tensor([list(ids)]),
        attention_mask=torch.ones(1, length + len(ids), dtype=torch.long),
        max_new_tokens=20,
        do_sample=False,
        prefix_allowed_tokens_fn=allowed,
        **seeded,
    )
    return str(on.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True))


@torch.no_grad()
def loss_by_hand(on: FrozenModel, ids: Sequence[int], answer: str, soft: SoftPrompt | None) -> tuple[float, int]:
    """Summed loss of an answer and its end, and how many tokens they are: transformers alone, one row, token by token."""
    assert on.tokenizer is not None
    wanted = [*on.tokenizer.encode(answer, add_special_tokens=False), on.eos_token_ids[0]]
    cache, past = on.new_cache(), 0
    if soft is not None:
        prefix = compile_prefix(on, soft)
        cache, past = prefix.to_cache(on), prefix.length
    read, total = list(ids), 0.0
    for token in wanted:
        logits = on.forward(input_ids=torch.tensor([read]), cache=cache, past_length=past)
        total -= float(logits.log_softmax(-1)[token])
        past, read = past + len(read), [token]
    return total, len(wanted)
