"""What a card says to a stranger."""

from __future__ import annotations

import pytest

from langchain_softprompt.card import card_problems, write_card
from langchain_softprompt.demo import shipped
from langchain_softprompt.errors import InvalidReferenceError, InvalidSettingsError
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_soft_prompt
from tests.unit_tests.card.cards import (
    BASE,
    COMMIT,
    FINGERPRINT,
    SECTIONS,
    blocks,
    card,
    evaluation,
    front,
    inside,
    read,
    sections,
    soft_prompt,
    tokens,
)
from tests.unit_tests.card.multitask import multitask

SHIPPED = ("clean", "route", "mood", "tools")


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_soft_prompt_has_a_card_that_the_hub_can_read(name: str) -> None:
    loaded = SoftPrompt.load(shipped(name))
    text = write_card(loaded, f"acme/{name}")
    assert card_problems(text) == []
    assert sections(text) == SECTIONS
    assert loaded.manifest is not None
    seen = read(text)
    assert seen.startswith(f"{name}\n{loaded.manifest.description}\n")
    for fact in (
        loaded.manifest.base_model.fingerprint,
        loaded.manifest.data.digest if loaded.manifest.data else "",
        loaded.manifest.created,
    ):
        assert fact in seen
    assert [message.template for message in loaded.manifest.hard_prompt] == [
        block.removesuffix("\n") for block in blocks(text, "text")[len(loaded.manifest.input_messages) :]
    ]


@pytest.mark.parametrize("name", SHIPPED)
def test_no_card_has_two_blank_lines_where_a_part_was_left_out(name: str) -> None:
    text = write_card(SoftPrompt.load(shipped(name)), f"acme/{name}")
    assert "\n\n\n" not in "x".join(text.split("```")[::2])


def test_the_embedded_model_is_named_as_the_hub_knows_it_and_its_weights_as_what_they_are() -> None:
    text = write_card(SoftPrompt.load(shipped("mood")), "acme/mood")
    assert front(text)["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" in read(text)
    assert "embedded:" not in text


def test_a_recorded_commit_and_fingerprint_of_the_base_model_are_told() -> None:
    seen = read(card())
    assert BASE in seen
    assert COMMIT in seen
    assert FINGERPRINT in seen


def test_the_messages_to_send_come_before_the_hard_prompt() -> None:
    assert blocks(card(), "text") == ["Animal: {text}\n", "Say where the animal lives.\n", "Animal: {text}\n"]


def test_what_is_not_recorded_is_said_to_be_not_recorded() -> None:
    bare = soft_prompt(
        description="", hard_prompt=[], input_messages=[], training={}, seeds=[], data=None, scores={}, created="", package_version=""
    )
    text = card(bare)
    assert card_problems(text) == []
    assert sections(text) == SECTIONS
    seen = read(text)
    assert "What it does is not recorded." in seen
    assert "What it was trained on is not recorded." in seen
    assert "An evaluation beside baselines, on rows it was not trained on, is not recorded." in seen
    assert "It carries no probes" in seen
    assert seen.count("not recorded") == 6


def test_a_folder_of_plain_peft_gets_a_card_too() -> None:
    text = card(tiny_soft_prompt(), base_model=BASE)
    assert card_problems(text) == []
    assert "SoftPromptLLM" in blocks(text, "python")[0]
    assert "Which text it was trained on is not recorded." in read(text)
    assert "no fingerprint" in read(text)


def test_probes_are_told_of_with_what_they_were_recorded_on() -> None:
    text = write_card(SoftPrompt.load(shipped("route")), "acme/route")
    assert "It carries 3 probes" in read(text)
    assert "(bfloat16, cpu, torch 2.13.0+cpu, transformers 5.23.0)" in read(text)
    assert "langchain-softprompt check acme/route --model embedded\n" in blocks(text, "bash")


def test_the_command_to_judge_it_names_the_field_it_was_trained_on() -> None:
    assert f"langchain-softprompt evaluate acme/homes --model {BASE} --data rows.jsonl --target home\n" in blocks(card(), "bash")


def test_a_target_that_would_do_something_in_a_shell_is_not_put_into_a_command() -> None:
    text = card(soft_prompt(training={"target": "x; rm -rf ."}))
    assert all("rm -rf" not in block for block in blocks(text, "bash"))


def test_a_multitask_soft_prompt_names_its_tasks() -> None:
    text = card(multitask(["sea", "farm"], task=1), base_model=BASE)
    assert card_problems(text) == []
    assert "number 1 (farm)" in read(text)
    assert "sea, farm" in read(text)


def test_a_pinned_name_is_pinned_in_every_block_of_code() -> None:
    text = write_card(soft_prompt(), "acme/homes@v1")
    with_langchain, with_peft = blocks(text, "python")
    assert with_langchain.count('"acme/homes@v1"') == 2
    assert '"acme/homes", revision="v1"' in with_peft
    assert read(text).startswith("homes\n")


@pytest.mark.parametrize("repo_id", ["./homes", "homes", "acme/homes#sub", "acme/../x", ""])
def test_a_card_is_for_a_repository_on_the_hub(repo_id: str) -> None:
    with pytest.raises(InvalidReferenceError):
        write_card(soft_prompt(), repo_id)


def test_a_licence_of_its_own_wins_over_that_of_the_data() -> None:
    assert front(card())["license"] == "cc-by-4.0"
    assert "The licence in this card's header is that of the data." in read(card())
    own = card(licence="Apache 2.0")
    assert front(own)["license"] == "apache-2.0"
    assert "The licence in this card's header" not in read(own)


def test_a_licence_that_the_hub_does_not_know_is_left_out_or_refused_where_it_was_asked_for() -> None:
    data = {"digest": "d" * 64, "rows": 1, "validation_rows": 0, "licence": "all rights reserved"}
    text = card(soft_prompt(data=data))
    assert "license" not in front(text)
    assert "all rights reserved" in read(text)
    with pytest.raises(InvalidSettingsError, match="licence: the Hub does not know 'all rights reserved'"):
        card(licence="all rights reserved")


def test_nobodys_folders_are_in_a_card() -> None:
    data = {"digest": "d" * 64, "rows": 1, "validation_rows": 0, "source": r"C:\Users\jdoe\my rows\train.csv"}
    text = card(soft_prompt(data=data), evaluation=evaluation(notes=["read from /home/jdoe/x/rows.jsonl"]))
    assert "jdoe" not in text
    assert "my rows" not in text
    assert "train.csv" in read(text)
    assert "test.jsonl" in read(text)
    assert "rows.jsonl" in read(text)


def test_a_data_set_on_the_hub_is_linked_and_stands_in_the_front_matter() -> None:
    data = {"digest": "d" * 64, "rows": 1, "validation_rows": 0, "source": "https://huggingface.co/datasets/acme/animals"}
    text = card(soft_prompt(data=data))
    assert front(text)["datasets"] == ["acme/animals"]
    assert "https://huggingface.co/datasets/acme/animals" in [token.attrGet("href") for token in inside(text) if token.type == "link_open"]


def test_a_source_that_only_looks_like_a_data_set_on_the_hub_is_none() -> None:
    assert "datasets" not in front(write_card(SoftPrompt.load(shipped("tools")), "acme/tools"))  # benchmarks/tool_chats


def test_a_card_of_the_same_facts_is_the_same_text() -> None:
    assert card() == card()


def test_backticks_in_a_template_do_not_end_its_block() -> None:
    template = "Write code:\n```python\nprint(1)\n```\n# Not a heading"
    text = card(soft_prompt(hard_prompt=[{"role": "system", "template": template}]))
    assert template + "\n" in blocks(text, "text")
    assert sections(text) == SECTIONS
    assert [token.content for token in tokens(text) if token.type == "fence" and token.info == "python"] == blocks(card(), "python")
