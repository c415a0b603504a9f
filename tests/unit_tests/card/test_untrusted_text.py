"""Whatever a file says, the card says just that: it does nothing, and it says nothing more."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from langchain_softprompt.card import card_problems, write_card
from langchain_softprompt.card.front_matter import hub_dataset, make_front_matter
from langchain_softprompt.card.licences import hub_licence
from langchain_softprompt.card.markdown import code, fenced, one_line, table, words
from langchain_softprompt.card.scores import find_scores
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_soft_prompt
from tests.unit_tests.card.cards import BASE, LINKABLE, REPO, SECTIONS, blocks, evaluation, inside, sections, seen, soft_prompt, tokens
from tests.unit_tests.card.hostile import any_texts, texts

_HARMLESS = {f"https://huggingface.co/{BASE}"}


def _assert_it_does_nothing(text: str, python: int = 2) -> None:
    found = tokens(text)
    assert sections(text) == SECTIONS
    assert [token.tag for token in found if token.type == "heading_open"] == ["h1", *["h2"] * len(SECTIONS)]
    assert not [token for token in found if token.type == "html_block"]
    for token in inside(text):
        assert token.type not in {"html_inline", "image"}
        if token.type == "link_open":
            assert token.attrGet("href") in _HARMLESS
        if token.type == "text":
            assert not LINKABLE.search(token.content)
    assert all("<" not in token.content for token in found if token.type == "inline")  # before any mark-up is read
    made = blocks(text, "python")
    assert len(made) == python
    for block in made:
        compile(block, "card", "exec")
    text.encode("utf-8")
    assert all(letter.isprintable() or letter in "\n\t\u200c\u200d" for letter in text)


def _front_that_was_meant(about: SoftPrompt, judged: dict[str, Any] | None) -> dict[str, Any]:
    assert about.manifest is not None
    data = about.manifest.data
    meant: dict[str, Any] = make_front_matter(
        REPO,
        kind=about.kind,
        base_model=BASE,
        licence=hub_licence(data.licence) if data else None,
        dataset=hub_dataset(data.source) if data else None,
        scores=find_scores(about, judged),
    ).to_dict()
    return meant


@settings(max_examples=60)
@given(st.data())
def test_a_manifest_of_hostile_texts_gives_a_card_that_says_them_and_does_nothing(data: st.DataObject) -> None:
    def text() -> str:
        return data.draw(texts)

    about = soft_prompt(
        description=text(),
        method=text(),
        hard_prompt=[{"role": "system", "template": text()}],
        input_messages=[{"role": "human", "template": text()}],
        training={"steps_done": text(), "target": text(), "init": text()},
        data={"digest": "d" * 64, "rows": 1, "validation_rows": 1, "source": text(), "licence": text()},
        scores={text(): 0.5},
        probes={
            "probes": [
                {"token_ids": [1], "next_ids": [1], "log_probs": [-1.0], "messages": [{"role": "user", "content": text()}]},
            ],
            "dtype": text(),
            "torch": text(),
        },
        evaluation={
            "data": "e" * 64,
            "rows": 1,
            "target": "x",
            "source": text(),
            "scores": {text(): 0.5, f"hard prompt{text()}/accuracy": 0.1},
            "settings": {"answers": text(), "task": text()},
            "environment": {"dtype": text(), "fingerprint": text()},
            "created": text(),
        },
        created=text(),
        package_version=text(),
    )
    written = write_card(about, REPO)
    assert card_problems(written) == []
    assert ModelCard(written).data.to_dict() == _front_that_was_meant(about, None)
    _assert_it_does_nothing(written)


@settings(max_examples=40)
@given(st.data())
def test_an_evaluation_of_hostile_texts_gives_a_card_that_says_them_and_does_nothing(data: st.DataObject) -> None:
    def text() -> str:
        return data.draw(texts)

    metric = text()
    judged = evaluation(
        source=text(),
        data=text(),
        created=text(),
        metrics=[{"name": metric, "meaning": text(), "answers": "free", "scale": "share"}],
        arms=[
            {"name": text(), "kind": "soft prompt", "scores": {metric: {"value": 0.5, "interval": {"low": 0.4, "high": 0.6}}}},
            {"name": text(), "kind": "hard prompt", "scores": {}},
        ],
        gaps=[],
        notes=[text()],
        left_out={text(): text()},
        settings={text(): text(), "decoding": text(), "task": text()},
        environment={text(): text(), "torch": text()},
    )
    about = soft_prompt()
    written = write_card(about, REPO, evaluation=judged)
    assert card_problems(written) == []
    assert ModelCard(written).data.to_dict() == _front_that_was_meant(about, judged)
    _assert_it_does_nothing(written)


def test_very_long_texts_are_cut_and_the_card_is_whole() -> None:
    long = "<b>`https://evil.example`|" * 700
    about = soft_prompt(
        description=long,
        hard_prompt=[{"role": "system", "template": long}] * 100,
        data={"digest": "d" * 64, "rows": 1, "validation_rows": 1, "source": long, "licence": long},
        scores={f"{number} {'x' * 400}": 0.5 for number in range(1000)},
        seeds=list(range(100)),
    )
    written = write_card(about, REPO)
    assert card_problems(written) == []
    _assert_it_does_nothing(written)
    assert len(written) < 100_000
    assert "And 92 more messages, in `soft_prompt.json`." in written


def test_half_a_character_in_a_manifest_is_shown_as_what_it_is() -> None:
    about = soft_prompt()
    assert about.manifest is not None
    torn = about.manifest.model_copy(update={"description": "torn \ud83d apart", "created": "\udfff"})
    written = write_card(tiny_soft_prompt(1, manifest=torn), REPO)
    assert card_problems(written) == []
    _assert_it_does_nothing(written)
    assert r"torn `\ud83d` apart" in written


def _rendered(text: str) -> str:
    """What a reader sees of a paragraph of Markdown; there must be nothing else."""
    found = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    assert [token.type for token in found] == ["paragraph_open", "inline", "paragraph_close"], text
    assert {token.type for token in found[1].children or []} <= {"text", "code_inline", "text_special"}
    return seen(found[1])


@settings(max_examples=200)
@given(any_texts)
@example("1. one")
@example("# a_b _c_ `d` <e> &lt; [f](g) ~~h~~ |i|")
@example("+ plus")
@example("\\`\\|`<`x`|``")
def test_words_are_read_as_they_were_written(text: str) -> None:
    written = words(text)
    assert written == "" or _rendered(written) == one_line(text)


@settings(max_examples=100)
@given(any_texts)
@example("a|`|\\|b<")
def test_code_is_read_as_it_was_written(text: str) -> None:
    written = code(text)
    assert written == "" or _rendered(written).replace(" ", "") == one_line(text).replace(" ", "")


@settings(max_examples=100)
@given(any_texts, any_texts)
def test_cells_are_read_as_they_were_written_and_stay_in_their_table(head: str, cell: str) -> None:
    found = MarkdownIt("commonmark").enable("table").parse(table((head, "second"), [(cell, "last")]))
    lines = [seen(token) for token in found if token.type == "inline"]
    assert lines == [one_line(head), "second", one_line(cell), "last"]


@settings(max_examples=100)
@given(any_texts)
def test_a_block_of_code_holds_the_text_and_ends_after_it(text: str) -> None:
    (block,) = MarkdownIt("commonmark").parse(fenced(text))
    assert (block.type, block.info) == ("fence", "text")
    plain = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    (block,) = MarkdownIt("commonmark").parse(fenced(plain))
    assert block.content == plain + "\n"


@pytest.mark.parametrize("sign", ["\u202e", "\u200b", "\u00ad", "\x07", "\u2066", "\ue000"])
def test_what_cannot_be_seen_is_shown(sign: str) -> None:
    shown = sign.encode("unicode_escape").decode("ascii")
    assert words(f"a{sign}b") == f"`a{shown}b`"
    assert f"a{shown}b" in fenced(f"a{sign}b")
