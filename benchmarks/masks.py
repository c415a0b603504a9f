"""What holding an answer to a grammar costs: compiling, each mask, and a whole step. Prints JSON: python -m benchmarks.masks"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.machine import machine_facts
from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.grammars import GrammarSource
from langchain_softprompt.sampling import Grammar
from langchain_softprompt.settings import GenerationSettings

_NESTED = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "tags": {"type": "array", "items": {"enum": ["new", "used", "broken"]}, "maxItems": 4},
        "address": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["city", "zip"],
        },
        "total": {"type": "number", "minimum": 0, "maximum": 10000},
        "note": {"anyOf": [{"type": "string", "maxLength": 60}, {"type": "null"}]},
    },
    "required": ["name", "tags", "address", "total"],
}
_KINDS: dict[str, Callable[[], GrammarSource]] = {
    "nested JSON schema": lambda: GrammarSource.from_json_schema(_NESTED),
    "any JSON object": lambda: GrammarSource.from_json_schema({"type": "object"}),
    "regular expression": lambda: GrammarSource.from_regex(r"[A-Z][a-z]{2,12}, \d{4}-\d{2}-\d{2}"),
    "77 choices": lambda: GrammarSource.from_choices(f"intent number {number}" for number in range(77)),
}


def measure(model: str, answers: int) -> dict[str, Any]:
    """Microseconds a mask and milliseconds a compile, for each kind; then milliseconds a step with and without."""
    frozen = FrozenModel.load(model)
    start = time.perf_counter()
    Grammar(GrammarSource.from_regex("a"), frozen.tokenizer)
    prepared = time.perf_counter() - start
    kinds = {name: _kind(make, frozen, answers) for name, make in _KINDS.items()}
    with Engine(frozen) as engine:
        ids = frozen.tokenizer.encode("Write about the sea.")
        pairs = [
            (_step(engine, ids, None), _step(engine, ids, Grammar(GrammarSource.from_regex("(?s).*"), frozen.tokenizer))) for _ in range(7)
        ]
    free, held = (median(times) for times in zip(*pairs, strict=True))
    return {
        "model": frozen.name,
        "tokens": len(frozen.tokenizer),
        "tokenizer_prepared_ms": round(1e3 * prepared, 1),
        "kinds": kinds,
        "step_ms": {"free": round(free, 3), "held": round(held, 3)},
        "machine": machine_facts(),
    }  # fmt: skip


def _kind(make: Callable[[], GrammarSource], frozen: FrozenModel, answers: int) -> dict[str, float]:
    start = time.perf_counter()
    grammar = Grammar(make(), frozen.tokenizer)
    compiled = time.perf_counter() - start
    stop = frozenset(frozen.eos_token_ids)
    numbers = torch.Generator().manual_seed(0)
    masks: list[float] = []
    for _ in range(answers):
        state = grammar.start(stop)
        for _ in range(100):
            start = time.perf_counter()
            mask = state.mask(frozen.vocab_size)
            masks.append(1e6 * (time.perf_counter() - start))
            allowed = mask.nonzero().flatten()
            token = int(allowed[torch.randint(len(allowed), (1,), generator=numbers)])
            if state.accept(token):
                break
    masks.sort()
    return {
        "compile_ms": round(1e3 * compiled, 2),
        "mask_us_median": round(median(masks), 1),
        "mask_us_mean": round(sum(masks) / len(masks), 1),
        "mask_us_99_percent": round(masks[int(0.99 * len(masks))], 1),
        "masks": len(masks),
    }


def _step(engine: Engine, ids: list[int], grammar: Grammar | None) -> float:
    settings = GenerationSettings(max_new_tokens=64)
    start = time.perf_counter()
    result = engine.submit(ids, settings=settings, constraint=grammar).result()
    return 1e3 * (time.perf_counter() - start) / max(1, len(result.token_ids))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="what to take the tokenizer and the steps from")
    parser.add_argument("--answers", type=int, default=50, help="random answers for each kind of grammar")
    given = parser.parse_args()
    print(json.dumps(measure(given.model, given.answers), indent=2))
