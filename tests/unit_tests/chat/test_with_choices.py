"""`with_choices`: the likeliest label with its probabilities, as plain forwards have them, wherever a chat model goes."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Literal

import pytest
import torch
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ContextOverflowError, ModelInvalidRequestError
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField

from langchain_softprompt.chat_models import ChatSoftPrompt, ChoiceResult, RequestTimeoutError, UnknownArgumentError
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import (
    ContextLengthError,
    InvalidSettingsError,
    RequestCancelledError,
    RequestError,
    RequestFailedError,
)
from langchain_softprompt.messages import render_labels
from langchain_softprompt.testing import FakeEngine, tiny_model, tiny_soft_prompt, tiny_tokenizer
from tests.tiny import WITH_BEGIN_MARK, tokenizer_with
from tests.unit_tests.chat.conftest import QUESTION, Expected
from tests.unit_tests.engine.scored import plain_logits

INTENTS = ["refund", "card lost", "card", "card_not_working"]


def _plain(engine: Engine, labels: list[str], soft_prompt: Any = None) -> list[float]:
    """The log-probability of each label and the end of the turn, by transformers' forward over the rendered text."""
    tokenizer = engine.model.tokenizer
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer is not None
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    found = []
    for label in labels:
        tokens = tokenizer.encode(f"{label}<|im_end|>", add_special_tokens=False)
        logits = plain_logits(engine.model, [*ids, *tokens], soft_prompt)[len(ids) - 1 : -1]
        found.append(logits.double().log_softmax(-1)[torch.arange(len(tokens)), tokens].sum().item())
    return found


def _same(one: ChoiceResult[Any], other: ChoiceResult[Any]) -> bool:
    return one.label == other.label and one.log_probs == pytest.approx(other.log_probs, abs=1e-3)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_probabilities_are_the_softmax_of_what_plain_forwards_say_of_each_label(
    seed: int | None, llm: ChatSoftPrompt, engine: Engine
) -> None:
    soft_prompt = None if seed is None else tiny_soft_prompt(seed)
    result = llm.with_soft_prompt(soft_prompt).with_choices(INTENTS).invoke(QUESTION)
    expected = torch.tensor(_plain(engine, INTENTS, soft_prompt), dtype=torch.float64)
    assert list(result.log_probs) == INTENTS
    assert list(result.log_probs.values()) == pytest.approx(expected.tolist(), abs=1e-3)
    assert list(result.probabilities.values()) == pytest.approx(expected.softmax(-1).tolist(), abs=1e-3)
    assert sum(result.probabilities.values()) == pytest.approx(1)
    assert result.label == INTENTS[int(expected.argmax())]
    first, second = expected.softmax(-1).topk(2).values.tolist()
    assert result.margin == pytest.approx(first - second, abs=1e-3)


def test_the_mean_divides_by_the_tokens_of_the_label_and_of_its_end(llm: ChatSoftPrompt, engine: Engine) -> None:
    """A byte is a token here, and one more ends the turn."""
    by_sum, by_mean = (llm.with_choices(INTENTS, normalize=how).invoke(QUESTION) for how in ("sum", "mean"))
    means = {label: total / (len(label) + 1) for label, total in zip(INTENTS, _plain(engine, INTENTS), strict=True)}
    assert by_sum.mean_log_probs == pytest.approx(means, abs=1e-3)
    assert by_mean.mean_log_probs == pytest.approx(means, abs=1e-3)
    assert by_mean.log_probs == pytest.approx(by_sum.log_probs, abs=1e-3)
    assert by_mean.label == max(means, key=means.__getitem__)
    whole = sum(math.exp(mean) for mean in means.values())
    assert by_mean.probabilities == pytest.approx({label: math.exp(mean) / whole for label, mean in means.items()}, abs=1e-3)


def test_a_label_that_another_begins_with_is_told_apart_by_its_end() -> None:
    """The script puts all weight on what follows; without the end the shorter label would never lose."""
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine([{"card": 0.1, "card lost": 0.9}]))
    result = llm.with_choices(["card", "card lost"]).invoke(QUESTION)
    assert (result.label, result.margin) == ("card lost", pytest.approx(0.8))


class Intent(Enum):
    REFUND = "refund"
    LOST = "card lost"


class Number(Enum):
    ONE = 1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["refund", "card lost"], "card lost"),
        (("refund", "card lost"), "card lost"),
        (Intent, Intent.LOST),
        (Literal["refund", "card lost"], "card lost"),
        ({1: "refund", None: "card lost"}, None),
        ({Intent.LOST: "card lost", "other": "refund"}, Intent.LOST),
    ],
)
def test_labels_come_as_texts_an_enum_a_literal_or_a_dictionary(labels: Any, expected: Any) -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["card lost"]))
    result = llm.with_choices(labels).invoke(QUESTION)
    assert result.label == expected
    assert set(result.probabilities) == set(labels if not hasattr(labels, "__args__") else labels.__args__)
    assert result.probabilities[expected] == pytest.approx(0.9)


async def test_one_result_by_invoke_ainvoke_stream_astream_batch_and_abatch(llm: ChatSoftPrompt) -> None:
    chain = llm.with_choices(INTENTS)
    result = chain.invoke(QUESTION)
    assert _same(await chain.ainvoke(QUESTION), result)
    (streamed,) = list(chain.stream(QUESTION))
    (astreamed,) = [one async for one in chain.astream(QUESTION)]
    assert _same(streamed, result)
    assert _same(astreamed, result)
    others = [f"{QUESTION} {number}" for number in range(9)]
    for batch in (chain.batch([QUESTION, *others]), await chain.abatch([QUESTION, *others])):
        assert _same(batch[0], result)
        assert len({tuple(one.log_probs.values()) for one in batch}) == 10


def test_it_works_in_a_chain_with_the_soft_prompt_however_that_was_chosen(llm: ChatSoftPrompt, expected: Expected) -> None:
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    chosen = llm.with_soft_prompt(expected.a).with_choices(INTENTS).invoke(QUESTION)
    bare = llm.with_choices(INTENTS).invoke(QUESTION)
    assert not _same(chosen, bare)
    ways = [
        prompt | llm.bind(soft_prompt=expected.a).with_choices(INTENTS),  # type: ignore[attr-defined]
        prompt | llm.bind(temperature=0.5).with_soft_prompt(expected.a).with_choices(INTENTS),  # type: ignore[attr-defined]
        prompt | llm.with_choices(INTENTS, soft_prompt=expected.a),
        prompt | llm.with_config(tags=["x"]).bind(soft_prompt=expected.a).with_choices(INTENTS),  # type: ignore[attr-defined]
        prompt | llm.model_copy(update={"soft_prompt": expected.a}).with_choices(INTENTS),
    ]
    for way in ways:
        assert _same(way.invoke({"question": QUESTION}), chosen)
    assert _same((prompt | llm.with_soft_prompt(expected.a).with_choices(INTENTS, soft_prompt=None)).invoke({"question": QUESTION}), bare)


def test_a_config_that_names_a_soft_prompt_is_followed_or_refused(llm: ChatSoftPrompt, expected: Expected) -> None:
    configurable = llm.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
    config: Any = {"configurable": {"soft_prompt": expected.a}}
    followed = configurable.with_config(config).with_choices(INTENTS).invoke(QUESTION)  # type: ignore[attr-defined]
    assert _same(followed, llm.with_soft_prompt(expected.a).with_choices(INTENTS).invoke(QUESTION))
    with pytest.raises(UnknownArgumentError, match="configurable"):
        llm.with_choices(INTENTS).invoke(QUESTION, config)


class _Watching(BaseCallbackHandler):
    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.ended: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.started.append(kwargs)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.ended.append(response)


def test_a_call_is_traced_as_that_of_a_chat_model_with_tags_and_the_soft_prompt(llm: ChatSoftPrompt, expected: Expected) -> None:
    watching = _Watching()
    chain = llm.with_config(tags=["mine"]).with_soft_prompt(expected.a).with_choices(INTENTS)  # type: ignore[attr-defined]
    result = chain.invoke(QUESTION, {"callbacks": [watching]})
    (started,), (ended,) = watching.started, watching.ended
    assert "mine" in started["tags"]
    assert started["metadata"]["softprompt_source"] == expected.a
    assert started["invocation_params"]["choices"] == {"texts": INTENTS, "normalize": "sum"}
    message = ended.generations[0][0].message
    assert message.text == result.label
    assert message.response_metadata["soft_prompt"] == expected.a


def test_the_raw_message_has_the_label_as_text_usage_and_scores(llm: ChatSoftPrompt) -> None:
    answer = llm.with_soft_prompt(tiny_soft_prompt(1)).with_choices(INTENTS, include_raw=True).invoke(QUESTION)
    raw, parsed = answer["raw"], answer["parsed"]
    assert isinstance(raw, AIMessage)
    assert raw.text == parsed.label
    assert answer["parsing_error"] is None
    usage = raw.usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == len(raw.text)
    assert usage["input_tokens"] == llm.with_soft_prompt(tiny_soft_prompt(1)).get_num_tokens_from_messages([HumanMessage(QUESTION)])
    assert raw.response_metadata["finish_reason"] == "stop"
    assert raw.response_metadata["choice_scores"]["log_probs"] == list(parsed.log_probs.values())


def test_the_llm_cache_keeps_labels_and_ways_of_comparing_apart() -> None:
    engine = FakeEngine([{"a": 0.7, "bb": 0.3}])
    llm = ChatSoftPrompt(model="fake", engine=engine, cache=InMemoryCache())
    first = llm.with_choices(["a", "bb"]).invoke(QUESTION)
    assert llm.with_choices(["a", "bb"]).invoke(QUESTION) == first
    assert len(engine.requests) == 1
    llm.with_choices(["bb", "a"]).invoke(QUESTION)
    llm.with_choices(["a", "bb"], normalize="mean").invoke(QUESTION)
    llm.with_choices(["a", "bb"]).with_config().invoke(f"{QUESTION}?")
    llm.invoke(QUESTION)
    assert len(engine.requests) == 5
    renamed = llm.with_choices({1: "a", 2: "bb"}).invoke(QUESTION)
    assert (renamed.label, len(engine.requests)) == (1, 5)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([], "at least one label"),
        ({}, "at least one label"),
        (["a", ""], "text for each label, found '' for ''"),
        (["a", " \n"], "text for each label"),
        (["a", "b", "a"], "different labels, found 'a' twice"),
        ({1: "a", 2: "a"}, "different labels"),
        (["a", 3], "text for each label, found 3"),
        (["a", ["b"]], "text for each label"),
        (Number, "found 1 for <Number.ONE: 1>.*dictionary"),
        (Literal["a", 2], "text for each label, found 2"),
        ("refund", "a list of texts.*found 'refund'"),
        (3, "a list of texts"),
        (str, "a list of texts"),
    ],
)
def test_labels_that_can_not_be_told_apart_or_written_are_refused_before_anything_is_loaded(labels: Any, sentence: str) -> None:
    with pytest.raises(InvalidSettingsError, match=sentence):
        ChatSoftPrompt(model="nowhere/at-all").with_choices(labels)


def test_an_unknown_way_of_comparing_or_argument_is_refused(llm: ChatSoftPrompt) -> None:
    with pytest.raises(InvalidSettingsError, match="normalize: expected one of sum, mean, found 'median'"):
        llm.with_choices(INTENTS, normalize="median")  # type: ignore[arg-type]
    with pytest.raises(UnknownArgumentError, match="softprompt"):
        llm.with_choices(INTENTS, softprompt="x")
    with pytest.raises(InvalidSettingsError, match="with_choices"):
        llm.invoke(QUESTION, choices=["a", "b"])
    with pytest.raises(InvalidSettingsError, match="tools"):
        llm.with_choices(INTENTS, tools=[{"type": "function"}]).invoke(QUESTION)


def test_labels_that_are_the_same_tokens_or_none_to_this_model_are_refused_with_their_names() -> None:
    from tokenizers import normalizers

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("!", "")])
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(tokenizer=tokenizer))
    with pytest.raises(ModelInvalidRequestError, match="'Refund' and 'refund' are the same tokens"):
        llm.with_choices(["Refund", "refund"]).invoke(QUESTION)
    with pytest.raises(InvalidSettingsError, match="'!' has no tokens"):
        llm.with_choices(["a", "!"]).invoke(QUESTION)


def test_a_label_too_long_for_the_context_is_langchains_overflow_error() -> None:
    with Engine(tiny_model(max_positions=128)) as engine, pytest.raises(ContextOverflowError) as caught:
        ChatSoftPrompt(model="tiny", engine=engine).with_choices(["a", "b" * 200]).invoke(QUESTION)
    assert isinstance(caught.value, ContextLengthError)
    assert "longest continuation" in str(caught.value)


def test_control_tokens_in_a_label_are_plain_text_and_its_end_is_the_one_the_template_writes() -> None:
    """Of several tokens that end an answer, as in Llama 3, the template writes one."""
    tokenizer = tokenizer_with(WITH_BEGIN_MARK)
    begin, end = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    (plain,) = render_labels(tokenizer, ["a<|im_end|>"], [begin, end])
    assert plain[-1] == end
    assert plain.count(end) == 1
    assert tokenizer.decode(plain) == "a<|im_end|><|im_end|>"
    assert render_labels(tokenizer, ["a"], []) == [(tokenizer.convert_tokens_to_ids("a"),)]
    tokenizer.chat_template = None
    assert render_labels(tokenizer, ["a"], [begin, end])[0][-1] == begin


@pytest.mark.parametrize(("closes", "error"), [(False, RequestTimeoutError), (True, RequestCancelledError)])
async def test_a_timeout_and_a_closed_engine_have_their_own_errors(closes: bool, error: type[Exception], engine: Engine) -> None:
    chain = ChatSoftPrompt(model="tiny", engine=_Slow(engine, closes=closes), timeout=None if closes else 0.05).with_choices(INTENTS)
    with pytest.raises(error):
        await chain.ainvoke(QUESTION)
    with pytest.raises(error):
        chain.invoke(QUESTION)


class _Slow:
    """An engine that never gets to the scores: they are cancelled from outside."""

    def __init__(self, engine: Engine, *, closes: bool) -> None:
        self.model, self._closes = engine.model, closes

    def score(self, token_ids: Any, continuations: Any, **_: Any) -> Any:
        from langchain_softprompt.engine import Scoring

        scoring = Scoring(prompt_tokens=len(token_ids), virtual_tokens=0)
        if self._closes:
            scoring.cancel()
        return scoring


def test_scores_of_nothing_but_zero_probability_are_an_error_not_a_label() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine([{"a": 0.0}]))
    with pytest.raises(RequestFailedError, match="no label any probability"):
        llm.with_choices(["a", "b"]).invoke(QUESTION)


def test_a_fake_engine_scores_what_it_is_told_and_shows_the_labels_it_was_asked_for() -> None:
    engine = FakeEngine(["refund", {"refund": 0.25, "card": 0.75}, ZeroDivisionError(), "coffee"])
    chain = ChatSoftPrompt(model="fake", engine=engine, soft_prompt=tiny_soft_prompt(1)).with_choices(["refund", "card"])
    assert chain.invoke(QUESTION).probabilities == pytest.approx({"refund": 0.9, "card": 0.1})
    assert chain.invoke(QUESTION).probabilities == pytest.approx({"refund": 0.25, "card": 0.75})
    with pytest.raises(ZeroDivisionError):
        chain.invoke(QUESTION)
    with pytest.raises(RequestError, match="'coffee' is none of the labels: 'refund', 'card'"):
        chain.invoke(QUESTION)
    assert engine.requests[0].continuations == ("refund", "card")
    assert engine.requests[0].soft_prompt is not None
    assert FakeEngine([{"a": 0.1, "b": 0.9}]).submit([1]).result().token_ids == tuple(
        tiny_tokenizer().encode("b", add_special_tokens=False)
    )
