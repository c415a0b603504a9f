"""What answers are held to says the same as a grammar that travels; and a server that holds them to nothing is found out."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import llguidance
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.errors import InvalidGrammarError, ServerMismatchError
from langchain_softprompt.grammars import GrammarSource
from langchain_softprompt.remote.constraints import lark_of
from langchain_softprompt.sampling import Choices, Constraint, Grammar
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.testing import tiny_tokenizer
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS
from tests.vllm import LoopbackVLLM

TOKENIZER = tiny_tokenizer()
SIZE = len(TOKENIZER)
END = int(TOKENIZER.eos_token_id)


@lru_cache(maxsize=1)
def _there_tokenizer() -> Any:
    from llguidance.hf import from_tokenizer

    return from_tokenizer(TOKENIZER, SIZE)


class _There:
    """A grammar as vLLM's guidance backend takes it."""

    def __init__(self, lark: str) -> None:
        self.matcher = llguidance.LLMatcher(_there_tokenizer(), llguidance.grammar_from("grammar", lark), log_level=0)
        assert not self.matcher.is_error(), self.matcher.get_error()

    def mask(self) -> torch.Tensor:
        bits = torch.frombuffer(bytearray(self.matcher.compute_bitmask()), dtype=torch.uint8)
        return torch.stack([(bits >> place) & 1 for place in range(8)], dim=1).reshape(-1)[:SIZE].bool()


def _walks_agree(constraint: Constraint, seed: int, steps: int = 40) -> None:
    """Go at random through what may come, here and there, and compare the masks at each place."""
    numbers = random.Random(seed)
    here, there = constraint.start(frozenset({END})), _There(lark_of(constraint))
    for _ in range(steps):
        mask = here.mask(SIZE)
        assert mask is not None
        assert torch.equal(mask, there.mask())
        allowed = mask.nonzero().flatten().tolist()
        token = numbers.choice(allowed)
        if token == END:
            return
        complete = here.accept(token)
        assert there.matcher.consume_token(token)
        if complete:
            # Nothing may follow here, and nothing but the end there.
            assert there.mask().nonzero().flatten().tolist() == [END]
            return


_names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4)
_leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span}, st.integers(-99, 99), st.integers(0, 99)),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 6)),
    st.sampled_from([{"type": "string", "pattern": pattern} for pattern in ("^[a-c]{1,3}$", r"^\d+/\d+$", '^"x"$', "^é+$", "^a::=b$")]),
    st.lists(st.one_of(_names, st.integers(-9, 9)), min_size=1, max_size=3, unique_by=repr).map(lambda values: {"enum": values}),
    _names.map(lambda text: {"const": text}),
    st.just({"type": "string", "format": "date"}),
)
_schemas = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.dictionaries(_names, inner, min_size=1, max_size=3).flatmap(
            lambda properties: st.sets(st.sampled_from(sorted(properties))).map(
                lambda required: {"type": "object", "properties": properties, "required": sorted(required)}
            )
        ),
        st.builds(lambda item, most: {"type": "array", "items": item, "maxItems": most}, inner, st.integers(0, 3)),
        st.lists(inner, min_size=1, max_size=2).map(lambda several: {"anyOf": several}),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(schema=_schemas, closed=st.booleans(), seed=st.integers(0, 2**32))
def test_a_json_schema_lets_the_same_tokens_come_there_as_here(schema: dict[str, Any], closed: bool, seed: int) -> None:
    try:
        grammar = Grammar(GrammarSource.from_json_schema(schema, closed=closed), TOKENIZER)
    except InvalidGrammarError:  # a schema that fits nothing
        return
    _walks_agree(grammar, seed)


_atoms = st.one_of(
    st.sampled_from(["a", "b", ".", r"\d", r"\.", "/", r"\/", '"', "é", "[a-f]", r"[^x\n]", r"\n", " ", "::=", "start:", "%llguidance"]),
    st.characters(codec="ascii", categories=["L", "N"]),
)
_patterns = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "{0,3}", "{2}", "+"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(pattern=_patterns, seed=st.integers(0, 2**32))
def test_a_pattern_lets_the_same_tokens_come_there_as_here(pattern: str, seed: int) -> None:
    _walks_agree(Grammar(GrammarSource.from_regex(pattern), TOKENIZER), seed)


@settings(max_examples=100)
@given(choices=st.lists(_names, min_size=1, max_size=5, unique=True), seed=st.integers(0, 2**32))
def test_texts_to_choose_from_let_the_same_tokens_come_there_as_here(choices: list[str], seed: int) -> None:
    _walks_agree(Grammar(GrammarSource.from_choices(choices), TOKENIZER), seed)


@settings(max_examples=100)
@given(
    answers=st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=4), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)
def test_answers_to_choose_from_let_the_same_tokens_come_there_as_here(answers: list[list[int]], seed: int) -> None:
    _walks_agree(Choices(answers), seed)


_LARKS = [
    'start: a\na: /x+/ | "y"',
    '%llguidance {}\nstart: "a" <[65]>',
    "?start: word\nword: /[a-z]{2}/",
    '// a remark\nstart: "::="',
]


@pytest.mark.parametrize("lark", _LARKS)
def test_a_grammar_in_lark_lets_the_same_tokens_come_there_as_here(lark: str) -> None:
    for seed in range(5):
        _walks_agree(Grammar(GrammarSource.from_lark(lark), TOKENIZER), seed)


class _Own:
    def start(self, stop_ids: frozenset[int]) -> Any: ...


def test_a_constraint_that_is_code_of_this_process_can_not_be_sent(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    with pytest.raises(InvalidGrammarError, match="type _Own can't be sent"):
        make(vllm).submit(IDS, constraint=_Own())
    assert not vllm.requests


@pytest.mark.parametrize(
    "constraint",
    [Grammar(GrammarSource.from_regex("[0-9]{4}"), TOKENIZER), Choices([[65, 66, 67], [65, 70]])],
    ids=["grammar", "choices"],
)
def test_a_server_that_holds_answers_to_nothing_is_found_out(vllm: LoopbackVLLM, make: MakeEngine, constraint: Constraint) -> None:
    settings_ = GenerationSettings(max_new_tokens=8)
    engine = make(vllm)
    assert engine.submit(IDS, settings=settings_, constraint=constraint).result().finish_reason == "stop"
    vllm.holds_to_grammars = False
    with pytest.raises(ServerMismatchError, match=r"structured-outputs-config\.backend guidance"):
        engine.submit(IDS, settings=settings_, constraint=constraint).result()


def test_another_server_is_asked_where_one_holds_answers_to_nothing(vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.holds_to_grammars = False
    # The model never writes this by itself: a first token that fits by chance would be handed out before another that does not.
    grammar, engine = Grammar(GrammarSource.from_regex(r"\x01{4}"), TOKENIZER), make(vllm, other)
    for first in range(8):
        answer = engine.submit((first, *IDS), settings=GenerationSettings(max_new_tokens=8), constraint=grammar).result()
        assert TOKENIZER.decode(list(answer.token_ids)) == "\x01" * 4
