"""A few hundred JSON schemas, each answered by a random model at temperature 1 through the real engine: every answer fits, or was cut."""

from __future__ import annotations

import json
import math
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from langchain_softprompt.grammars import GrammarSource
from langchain_softprompt.sampling import Grammar
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.grammars.written_schemas import written_schemas


def _decimal(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond any
        return float(text)


def _exact(text: str) -> Any:
    """JSON with its fractions as written, so that 0.7 is a multiple of 0.1."""
    return json.loads(text, parse_float=_decimal)


def _overflows(text: str) -> bool:
    """Whether a number in it is infinite to Python."""
    found: list[float] = []
    json.loads(text, parse_float=lambda written: found.append(float(written)))
    return any(map(math.isinf, found))


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_answer_fits_its_schema_or_was_cut_by_the_token_limit(seed: int, new_engine: NewEngine) -> None:
    engine = new_engine(tiny_model(), max_rows=16)
    tokenizer = engine.model.tokenizer
    schemas = written_schemas(100, seed)
    soft_prompts = [None, tiny_soft_prompt(1), tiny_soft_prompt(2, virtual_tokens=7)]
    running = [
        engine.submit(
            tokenizer.encode(f"Question {number}"),
            soft_prompt=soft_prompts[number % 3],
            settings=GenerationSettings(max_new_tokens=400, temperature=1.0, seed=number),
            constraint=Grammar(GrammarSource.from_json_schema(schema), tokenizer),
        )
        for number, schema in enumerate(schemas)
    ]
    complete = 0
    for schema, generation in zip(schemas, running, strict=True):
        result = generation.result()
        text = tokenizer.decode(result.token_ids)
        if result.finish_reason == "length":
            assert len(result.token_ids) == 400
            continue
        complete += 1
        problems = [error.message for error in Draft202012Validator(_exact(json.dumps(schema))).iter_errors(_exact(text))]
        assert not problems, f"{text}\n{json.dumps(schema)}"
        problem = GrammarSource.from_json_schema(schema).why_invalid(text)
        # Random weights write exponents without end, and a number that no float holds is refused with that reason.
        assert (problem is not None and "is too large" in problem) if _overflows(text) else problem is None
        assert "\n" not in text, "no loose whitespace"
    assert complete >= 90, "the schemas ask for little text, so that nearly all answers come to their end"
