"""A small task to learn, and its loss by two other roads than the training's own."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from langchain_softprompt.data import Example, HardPrompt, instruction_ids, make_examples
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.prefix import KVPrefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.training.loop import TrainingLoop
from langchain_softprompt.training.objectives import Completions
from langchain_softprompt.training.starts import new_learner
from langchain_softprompt.training.state import TrainingState

INSTRUCTIONS = "Say where the animal lives."
PROMPT = HardPrompt.from_pairs([("system", INSTRUCTIONS), ("human", "Animal: {text}")])
ROWS = [
    {"text": "cow", "label": "farm"},
    {"text": "blue whale", "label": "sea"},
    {"text": "hen", "label": "farm"},
    {"text": "shrimp", "label": "sea"},
    {"text": "goat (brown, with a white beard)", "label": "farm"},
    {"text": "eel", "label": "the sea"},
]
VALIDATION = [{"text": "pig", "label": "farm"}, {"text": "cod", "label": "sea"}, {"text": "a very small duck", "label": "farm pond"}]


def examples(model: FrozenModel, rows: list[dict[str, str]]) -> list[Example]:
    return make_examples(model, PROMPT, rows, "label", max_tokens=512, source="rows") if rows else []


def training(
    model: FrozenModel, rows: list[dict[str, str]] = ROWS, validation: list[dict[str, str]] = VALIDATION, **changes: object
) -> TrainingLoop:
    """A loop before its first look; chosen by loss, never ended early, unless told otherwise."""
    settings = TrainingSettings(batch_size=2, learning_rate=5e-3, max_steps=50, select_by="loss", patience=None).override(**changes)
    state = TrainingState(learning_rate=settings.learning_rate or 0.0)
    objective = Completions(model, examples(model, rows))
    return TrainingLoop(
        model, new_learner(model, instruction_ids(model, PROMPT), settings), objective, examples(model, validation), settings, state
    )


@torch.no_grad()
def one_shot_loss(model: FrozenModel, rows: list[dict[str, str]]) -> float:
    """The hard prompt as plain text, in transformers alone: one row, one pass, no cache. Mean over the answers' tokens."""
    assert model.tokenizer is not None
    losses = []
    for row in rows:
        chat = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": f"Animal: {row['text']}"},
            {"role": "assistant", "content": row["label"]},
        ]
        opened = len(render_chat(model.tokenizer, chat[:-1]))
        ids = render_chat(model.tokenizer, chat, add_generation_prompt=False)
        end = ids.index(model.eos_token_ids[0], opened) + 1
        logits = model.model(input_ids=torch.tensor([ids[:end]]), use_cache=False).logits[0]
        losses.append(cross_entropy(logits[opened - 1 : end - 1].float(), torch.tensor(ids[opened:end]), reduction="none"))
    return torch.cat(losses).mean().item()


def served_loss(model: FrozenModel, prefix: KVPrefix, given: list[Example]) -> float:
    """As the engine reads it: each row alone on top of the compiled prefix, the answer token by token."""
    losses = []
    for example in given:
        cache, past = prefix.to_cache(model), prefix.length
        read = list(example.text)
        for token in example.completion:
            logits = model.forward(input_ids=torch.tensor([read]), cache=cache, past_length=past)
            losses.append(cross_entropy(logits[None], torch.tensor([token])))
            past, read = past + len(read), [token]
    return torch.stack(losses).mean().item()
