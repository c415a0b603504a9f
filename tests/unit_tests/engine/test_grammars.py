"""Grammars: exactly what may come at each place, in any company, with any tokenizer, and a typed error where nothing may."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import Any

import llguidance
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidGrammarError, RequestFailedError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.grammars import GrammarSource
from langchain_softprompt.sampling import Choices, Grammar
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt
from langchain_softprompt.testing.tiny import tiny_tokenizer
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import build

TOKENIZER = tiny_tokenizer()
END = TOKENIZER.eos_token_id
SIZE = len(TOKENIZER)
OBJECT = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
}
SOURCES = [
    GrammarSource.from_json_schema(OBJECT),
    GrammarSource.from_json_schema({"type": "array", "items": {"type": "boolean"}, "maxItems": 4}),
    GrammarSource.from_regex(r"\d{4}-\d{2}-\d{2}"),
    GrammarSource.from_choices(["refund", "card lost", "größe", "日本"]),
    GrammarSource.from_lark('start: "(" start ")" | /[a-z]{1,3}/'),
]


def _ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def _allowed(mask: torch.Tensor) -> set[int]:
    return set(mask.nonzero().flatten().tolist())


@pytest.mark.parametrize("pattern", ["(ab|ac)d?[bd]{1,2}", "a*b?", "[abc]{2}d|d", "(a|aa)(b|bc)?", "^a.c$"])
def test_at_each_place_the_mask_is_what_some_matching_text_has_there_and_the_end_where_one_ends(pattern: str) -> None:
    """Against Python's own matching of every text of up to five letters, as far as the grammar can still be told by those."""
    matching = {text for length in range(6) for text in map("".join, product("abcd", repeat=length)) if re.fullmatch(pattern, text)}
    grammar = Grammar(GrammarSource.from_regex(pattern), TOKENIZER)
    for given in {text[:length] for text in matching for length in range(min(len(text), 3) + 1)}:
        state = grammar.start(frozenset({END}))
        for token in _ids(given):
            assert state.mask(SIZE)[token]
            state.accept(token)
        come = {text[len(given)] for text in matching if text.startswith(given) and text != given}
        letters = {_ids(letter)[0] for letter in "abcd"}
        assert _allowed(state.mask(SIZE)) & (letters | {END}) == {_ids(letter)[0] for letter in come} | (
            {END} if given in matching else set()
        )


def test_choices_as_a_grammar_and_as_a_tree_of_tokens_give_the_same_answers(new_engine: NewEngine) -> None:
    """With a token for each byte there is one way to write each, so the two constraints are the same."""
    engine = new_engine(tiny_model())
    texts = ["sea", "seaside", "farm", "fär"]
    for seed in range(12):
        settings = GenerationSettings(temperature=1.0, seed=seed)
        by_grammar = engine.submit(_ids("Where?"), settings=settings, constraint=Grammar(GrammarSource.from_choices(texts), TOKENIZER))
        by_tree = engine.submit(_ids("Where?"), settings=settings, constraint=Choices(map(_ids, texts)))
        assert by_grammar.result() == by_tree.result()


def _request(number: int) -> dict[str, Any]:
    source = None if number % 6 == 5 else SOURCES[number % 6]
    return {
        "token_ids": _ids(f"Question {number}"),
        "soft_prompt": [None, tiny_soft_prompt(1), tiny_soft_prompt(2, virtual_tokens=7)][number % 3],
        "settings": GenerationSettings(max_new_tokens=40, temperature=0.0 if number % 4 == 0 else 1.0, seed=number),
        "constraint": None if source is None else Grammar(source, TOKENIZER),
    }


def test_rows_with_different_grammars_and_with_none_each_get_what_they_get_alone(new_engine: NewEngine) -> None:
    """Different soft prompts too, greedy and sampled, eight rows at a time."""
    engine = new_engine(tiny_model(), max_rows=8)
    together = [engine.submit(**_request(number)) for number in range(36)]
    mixed = [generation.result() for generation in together]
    alone = new_engine(tiny_model(), max_rows=1)
    for number, result in enumerate(mixed):
        expected = alone.submit(**_request(number)).result()
        assert (result.token_ids, result.finish_reason) == (expected.token_ids, expected.finish_reason)
    assert {result.finish_reason for result in mixed} == {"stop", "length"}


def test_one_grammar_serves_any_number_of_requests_each_from_its_beginning(new_engine: NewEngine) -> None:
    engine = new_engine(tiny_model(), max_rows=4)
    grammar = Grammar(SOURCES[2], TOKENIZER)
    running = [
        engine.submit(_ids("When?"), settings=GenerationSettings(temperature=1.0, seed=seed), constraint=grammar) for seed in range(12)
    ]
    texts = [TOKENIZER.decode(generation.result().token_ids) for generation in running]
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) for text in texts)
    assert len(set(texts)) > 1


def test_an_answer_that_nothing_can_follow_ends_without_asking_the_model_for_its_end(new_engine: NewEngine) -> None:
    engine = new_engine(tiny_model())
    result = engine.submit(
        _ids("When?"), settings=GenerationSettings(max_new_tokens=10), constraint=Grammar(SOURCES[2], TOKENIZER)
    ).result()
    assert (len(result.token_ids), result.finish_reason) == (10, "stop")


def test_tokens_that_end_the_answer_may_come_exactly_where_the_grammar_may_end() -> None:
    """Also ones that would be text: a request's own stop tokens."""
    stop = frozenset({END, _ids("7")[0]})
    state = Grammar(GrammarSource.from_regex("[0-9]{2,3}"), TOKENIZER).start(stop)
    for digit, ends in (("1", False), ("2", True), ("3", True)):
        assert not state.accept(_ids(digit)[0]) or digit == "3"
        assert (_allowed(state.mask(SIZE)) & stop == stop) is ends
        assert bool(_allowed(state.mask(SIZE)) & stop) is ends
    assert state.accept(END)


def test_special_tokens_never_come_inside_an_answer() -> None:
    state = Grammar(GrammarSource.from_regex("(?s).*"), TOKENIZER).start(frozenset({END}))
    special = set(TOKENIZER.all_special_ids)
    assert _allowed(state.mask(SIZE)) & special == {END}


def test_a_tokenizer_without_an_end_token_of_its_own_ends_with_the_requests(new_engine: NewEngine) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    state = Grammar(GrammarSource.from_regex("a?"), tokenizer).start(frozenset({3}))
    assert _allowed(state.mask(SIZE)) == {3, _ids("a")[0]}


@pytest.mark.parametrize("size", [SIZE + 61, SIZE, 64])
def test_more_or_fewer_logits_than_tokens_give_a_mask_of_the_models_size(size: int) -> None:
    mask = Grammar(GrammarSource.from_regex("(?s).*"), TOKENIZER).start(frozenset({END})).mask(size)
    assert mask.shape == (size,)
    assert mask.dtype == torch.bool
    assert not _allowed(mask) - set(range(SIZE))


def test_a_model_with_more_logits_than_its_tokenizer_has_tokens_answers_within_the_grammar(new_engine: NewEngine) -> None:
    model = build("llama", vocab_size=SIZE + 40, eos_token_id=END)
    engine = new_engine(FrozenModel.wrap(model.model, TOKENIZER))
    result = engine.submit(
        [1, 2, 3], settings=GenerationSettings(temperature=1.0, seed=1), constraint=Grammar(SOURCES[0], TOKENIZER)
    ).result()
    assert SOURCES[0].why_invalid(TOKENIZER.decode(result.token_ids)) is None


@cache
def _metaspace() -> PreTrainedTokenizerFast:
    """As Llama 2's and Gemma's: words that begin with a mark for the blank, and single bytes for what is in no word."""
    words = ["▁", '{"', "name", '":', '▁"', '"', "a", "b", "▁a", ",", "}", ":", "▁b", "1", "12", "2", "age", "name age"]
    vocab = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    tokenizer = Tokenizer(
        models.BPE(vocab={word: index for index, word in enumerate(vocab)}, merges=[], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def test_tokens_of_several_letters_and_marks_for_blanks_keep_to_the_grammar(new_engine: NewEngine) -> None:
    tokenizer = _metaspace()
    model = build("llama", vocab_size=len(tokenizer) + 5, eos_token_id=tokenizer.eos_token_id)
    engine = new_engine(FrozenModel.wrap(model.model, tokenizer))
    source = SOURCES[0]
    running = [
        engine.submit([5, 6], settings=GenerationSettings(temperature=1.0, seed=seed), constraint=Grammar(source, tokenizer))
        for seed in range(10)
    ]
    for generation in running:
        result = generation.result()
        assert result.finish_reason == "stop"
        assert source.why_invalid(tokenizer.decode(result.token_ids)) is None


def test_a_grammar_of_letters_that_the_model_can_not_write_fails_its_own_request_only(new_engine: NewEngine) -> None:
    inner = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "</s>": 2}, merges=[]))
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    engine = new_engine(FrozenModel.wrap(build("llama", eos_token_id=2).model, tokenizer))
    with pytest.raises(InvalidGrammarError, match="none of the model's tokens"):
        engine.submit([0], constraint=Grammar(GrammarSource.from_regex("a{2}z"), tokenizer)).result()
    assert engine.submit([0], constraint=Grammar(GrammarSource.from_regex("a{2}b"), tokenizer)).result().token_ids == (0, 0, 1)


def test_a_grammar_that_takes_too_much_is_refused_before_the_engine_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = llguidance.LLParserLimits(initial_lexer_fuel=50, verbose_errors=False)
    monkeypatch.setattr("langchain_softprompt.sampling.grammar.parser_limits", lambda: limits)
    with pytest.raises(InvalidGrammarError, match=r"can't be held to: .*too big"):
        Grammar(GrammarSource.from_choices(map(str, range(500))), TOKENIZER)


def test_a_pattern_that_nothing_matches_is_refused() -> None:
    with pytest.raises(InvalidGrammarError, match="none of the model's tokens"):
        Grammar(GrammarSource.from_regex(r"[^\x00-\x{10FFFF}]"), TOKENIZER)


def test_a_tokenizer_that_llguidance_can_not_read_is_refused() -> None:
    without_decoder = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])), eos_token="a")
    with pytest.raises(InvalidGrammarError, match="its tokenizer can't be read"):
        Grammar(SOURCES[0], without_decoder)


def test_a_tokenizer_of_the_slow_kind_is_refused() -> None:
    with pytest.raises(InvalidGrammarError, match="tokenizer is a dict"):
        Grammar(SOURCES[0], {})


def test_a_grammar_is_compiled_once_for_a_tokenizer_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    real = llguidance.LLMatcher
    monkeypatch.setattr(llguidance, "LLMatcher", lambda *given, **named: compiled.append(given) or real(*given, **named))
    for _ in range(3):
        Grammar(GrammarSource("regex", real.grammar_from_regex("only once [a-z]")), TOKENIZER)
    assert len(compiled) == 1


def test_a_token_that_the_grammar_did_not_allow_is_an_error_and_not_passed_over() -> None:
    state = Grammar(GrammarSource.from_regex("ab"), TOKENIZER).start(frozenset({END}))
    with pytest.raises(RequestFailedError, match="did not take token"):
        state.accept(_ids("b")[0])


def test_engine_goes_on_after_a_grammar_failed_midway(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is met in the middle of an answer ends that request alone."""
    engine: Engine = new_engine(tiny_model())

    class _Failing:
        def __init__(self, inner: Any) -> None:
            self._inner, self._left = inner, 2

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def is_error(self) -> bool:
            self._left -= 1
            return self._left < 0

        def get_error(self) -> str:
            return "lexer error: too many states\nmore"

    grammar = Grammar(SOURCES[0], TOKENIZER)
    start = grammar.start

    def failing(stop_ids: frozenset[int]) -> Any:
        state = start(stop_ids)
        state._matcher = _Failing(state._matcher)
        return state

    monkeypatch.setattr(grammar, "start", failing)
    broken, whole = engine.submit(_ids("x"), constraint=grammar), engine.submit(_ids("x"), constraint=Grammar(SOURCES[2], TOKENIZER))
    with pytest.raises(InvalidGrammarError, match=r"too many states\. Make it simpler"):
        broken.result()
    assert whole.result().finish_reason == "stop"
