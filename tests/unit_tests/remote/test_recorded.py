"""What real vLLM servers sent is read as it was meant.

Each file in ``recorded`` is one exchange with a real server, as JSON:

``what``
    A sentence: what was asked, and of which server.
``vllm``
    Its version, as ``GET /version`` says it.
``path``
    What was posted to.
``asked``
    What the answer is read by: ``token_ids`` of the text, ``virtual_tokens`` before it, ``max_tokens``, ``top_logprobs`` (or null),
    ``stop_ids``; and ``vocab_size`` of the model.
``status``, ``body``
    The answer: its HTTP status, and its bytes as text, line by line where it was a stream.
``expected``
    What it is to be read as: either ``token_ids``, ``finish_reason``, ``cached_tokens`` and ``logprobs`` (of the tokens, rounded to
    four places; null where none were asked for), or ``error``, the name of the error's class, and ``says``, words in it.

To record one: ask the server with ``curl -N``, and put what came into ``body``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.remote.answers import Answer, Step
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.events import events
from langchain_softprompt.remote.identity import Served
from langchain_softprompt.remote.refusals import TryAgainError, refusal, refusal_within
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.testing import tiny_soft_prompt

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))


def _asked(told: dict[str, Any]) -> Asked:
    settings = GenerationSettings(max_new_tokens=told["max_tokens"], top_logprobs=told["top_logprobs"])
    soft_prompt = tiny_soft_prompt(virtual_tokens=told["virtual_tokens"]) if told["virtual_tokens"] else None
    return Asked(tuple(told["token_ids"]), settings, tuple(told["stop_ids"]), soft_prompt)


async def _pieces(body: str) -> AsyncIterator[bytes]:
    """In pieces of a size that respects no event."""
    content = body.encode()
    for start in range(0, len(content), 777):
        yield content[start : start + 777]


async def _read(told: dict[str, Any]) -> tuple[Answer, list[Step]]:
    asked, steps = _asked(told["asked"]), []
    answer = Answer(asked, told["asked"]["vocab_size"])
    if told["status"] != 200:
        raise refusal(told["status"], told["body"].encode(), {}, path=told["path"], asked=asked, served=Served("m"))
    async for event in events(_pieces(told["body"])):
        if event.get("error") is not None:
            raise refusal_within(event["error"], path=told["path"], asked=asked, served=Served("m"))
        steps += answer.take(event)
    answer.finish()
    return answer, steps


def test_there_are_recordings() -> None:
    assert RECORDED


@pytest.mark.parametrize("told", [json.loads(file.read_text("utf-8")) for file in RECORDED], ids=[file.stem for file in RECORDED])
async def test_a_recorded_answer_is_read_as_it_was_meant(told: dict[str, Any]) -> None:
    expected = told["expected"]
    if "error" in expected:
        with pytest.raises((SoftPromptError, TryAgainError)) as raised:
            await _read(told)
        error = raised.value.error if isinstance(raised.value, TryAgainError) else raised.value
        assert type(error).__name__ == expected["error"]
        assert expected["says"] in str(error)
        return
    answer, steps = await _read(told)
    assert [token for token, _ in steps] == expected["token_ids"]
    assert (answer.finish_reason, answer.cached_tokens) == (expected["finish_reason"], expected["cached_tokens"])
    logprobs = [round(logprob.logprob, 4) for _, logprob in steps if logprob is not None]
    assert (logprobs or None) == expected["logprobs"]
