"""`cache_read` tells how many input tokens the model did not read, whichever way an answer is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.settings import EngineLimits
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PromptTuning
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt
from tests.unit_tests.engine.reads import counted_reads
from tests.unit_tests.engine.tiny import embedding_prompt

EXAMPLES = [
    SystemMessage("Say which mood a review is in, in one word."),
    HumanMessage("a warm , funny film"),
    AIMessage("good"),
    HumanMessage("dull from end to end"),
    AIMessage("bad"),
]
VIRTUAL = 5
MAX_TOKENS = 20


def _ask(question: str) -> list[BaseMessage]:
    return [*EXAMPLES, HumanMessage(question)]


@pytest.fixture
def engine() -> Iterator[Engine]:
    """One of this test's own, which remembers nothing yet."""
    with Engine(tiny_model()) as engine:
        yield engine


@pytest.fixture
def llm(engine: Engine) -> ChatSoftPrompt:
    prompt = embedding_prompt(VIRTUAL)
    assert isinstance(prompt.config, PromptTuning), "a soft prompt that the model has to read"
    return ChatSoftPrompt(model="tiny", engine=engine, soft_prompt=prompt, max_tokens=1)


def _counts(message: AIMessage) -> tuple[int, int]:
    usage = message.usage_metadata
    assert usage is not None
    return usage["input_tokens"], usage["input_token_details"]["cache_read"]


def _streamed(chunks: Sequence[AIMessageChunk]) -> AIMessage:
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1
    return sum(chunks[1:], chunks[0])


async def _invoke(llm: ChatSoftPrompt, question: str) -> list[AIMessage]:
    return [await asyncio.to_thread(llm.invoke, _ask(question))]


async def _stream(llm: ChatSoftPrompt, question: str) -> list[AIMessage]:
    return [_streamed(await asyncio.to_thread(lambda: list(llm.stream(_ask(question)))))]


async def _ainvoke(llm: ChatSoftPrompt, question: str) -> list[AIMessage]:
    return [await llm.ainvoke(_ask(question))]


async def _astream(llm: ChatSoftPrompt, question: str) -> list[AIMessage]:
    return [_streamed([chunk async for chunk in llm.astream(_ask(question))])]


async def _batch(llm: ChatSoftPrompt, question: str) -> list[AIMessage]:
    return await asyncio.to_thread(llm.batch, [_ask(f"{number} {question}") for number in range(4)])


async def _abatch(llm: ChatSoftPrompt, question: str) -> list[AIMessage]:
    return await llm.abatch([_ask(f"{number} {question}") for number in range(4)])


WAYS = [_invoke, _stream, _ainvoke, _astream, _batch, _abatch]


@pytest.mark.parametrize("ask", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_input_tokens_are_what_was_read_and_what_was_cached(
    ask: Callable[[ChatSoftPrompt, str], Awaitable[list[AIMessage]]], llm: ChatSoftPrompt
) -> None:
    head = VIRTUAL + len(_common(llm, "a", "b"))
    known = 0
    for question in ("a fine evening", "what a mess"):
        with counted_reads(llm.engine.model) as reads:
            answers = [_counts(message) for message in await ask(llm, question)]
        assert sum(size for size, _ in answers) == sum(cached for _, cached in answers) + reads.positions
        first, *others = sorted(cached for _, cached in answers)
        assert first == known
        assert all(cached >= head for cached in others)
        known = head if len(answers) == 1 else head + 2  # the digit before the question, and a space
    assert known >= VIRTUAL + 100


def _common(llm: ChatSoftPrompt, one: str, other: str) -> list[int]:
    """The tokens that two questions have in common, by the tokenizer alone."""
    prompts = [llm.engine.model.tokenizer.apply_chat_template(_as_dicts(text), add_generation_prompt=True) for text in (one, other)]
    ids = [prompt["input_ids"] for prompt in prompts]
    return ids[0][: next(place for place, (left, right) in enumerate(zip(*ids, strict=False)) if left != right)]


def _as_dicts(question: str) -> list[dict[str, str]]:
    roles = {"system": "system", "human": "user", "ai": "assistant"}
    return [{"role": roles[message.type], "content": str(message.content)} for message in _ask(question)]


def test_a_chat_that_grows_reads_its_new_turn_only(llm: ChatSoftPrompt) -> None:
    """Each turn knows the turn before and its answer, but for the answer's last token, which was not read then."""
    chatty = llm.model_copy(update={"max_tokens": MAX_TOKENS})
    history, known = _ask("a fine evening"), 0
    for turn in range(3):
        with counted_reads(llm.engine.model) as reads:
            size, cached = _counts(llm.invoke(history))
        assert (cached, reads.positions) == (known, size - known)
        answer = chatty.invoke(history)
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["output_tokens"] == MAX_TOKENS
        known = size + MAX_TOKENS - 1
        history += [answer, HumanMessage(f"and turn {turn}?")]


def test_another_soft_prompt_and_the_bare_model_read_all_of_the_same_chat(llm: ChatSoftPrompt) -> None:
    for choice in (llm.soft_prompt, embedding_prompt(VIRTUAL, 1), None):
        with counted_reads(llm.engine.model) as reads:
            size, cached = _counts(llm.invoke(_ask("a fine evening"), soft_prompt=choice))
        assert (cached, reads.positions) == (0, size)


def test_a_soft_prompt_of_keys_and_values_is_never_read_and_counts_from_its_second_request_on(engine: Engine) -> None:
    ready: SoftPrompt = tiny_soft_prompt(1, virtual_tokens=6)
    llm = ChatSoftPrompt(model="tiny", engine=engine, soft_prompt=ready, max_tokens=1)
    counts = []
    for _ in range(2):
        with counted_reads(engine.model) as reads:
            size, cached = _counts(llm.invoke(_ask("a fine evening")))
        counts.append((cached, reads.positions))
    assert counts == [(0, size - 6), (size - 1, 1)]


def test_without_a_cache_nothing_is_cached_and_the_answers_are_the_same(llm: ChatSoftPrompt) -> None:
    with Engine(tiny_model(), EngineLimits(prefix_cache_bytes=0)) as forgetful:
        for question in ("a fine evening", "a fine mess", "a fine evening"):
            remembered, forgotten = (
                llm.model_copy(update={"engine": engine, "max_tokens": MAX_TOKENS}).invoke(_ask(question))
                for engine in (llm.engine, forgetful)
            )
            assert remembered.text == forgotten.text
            assert _counts(forgotten)[1] == 0
        assert _counts(remembered)[1] == _counts(remembered)[0] - 1
