"""The code in a card runs as it stands, and does with plain PEFT what it does here."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_softprompt.card import write_card
from langchain_softprompt.chats import render_plain
from langchain_softprompt.demo import shipped
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_model, tiny_soft_prompt
from tests.tiny import WITH_BEGIN_MARK, WITH_DEFAULT_SYSTEM, WITH_TOOLS_IN_SYSTEM, WITHOUT_SYSTEM_ROLE, tokenizer_with
from tests.unit_tests.card.cards import BASE, REPO, blocks, card, read, soft_prompt
from tests.unit_tests.card.multitask import multitask

TEMPLATES = {
    "with a default system message": WITH_DEFAULT_SYSTEM,
    "with a begin-of-sequence mark": WITH_BEGIN_MARK,
    "without a system role": WITHOUT_SYSTEM_ROLE,
    "with tools in the system turn": WITH_TOOLS_IN_SYSTEM,
}
TOLERANCE = 1e-5  # float32


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the base model and the soft prompt lie by the names they have on the Hub, which all libraries look for first."""
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / BASE)
    return tmp_path


def _here(about: SoftPrompt, hub: Path) -> SoftPrompt:
    """The soft prompt as it says it was made for the model that lies there, saved by its name."""
    assert about.manifest is not None
    weights = {"id": BASE, "revision": "a" * 40, "fingerprint": tiny_model().fingerprint}
    made = SoftPrompt(
        about.config,
        about.tensors,
        task=about.task,
        manifest=about.manifest.model_validate({**about.manifest.model_dump(), "base_model": weights}),
    )
    made.save(hub / REPO)
    return made


def _run(block: str) -> tuple[dict[str, Any], str]:
    """Run a block of code; its names, and what it printed."""
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' own
        exec(compile(block, "card", "exec"), names)  # noqa: S102 - it is our own card's
    return names, printed.getvalue()


def _answers(soft_prompt: SoftPrompt, token_ids: Sequence[int]) -> torch.Tensor:
    """Our logits of the token after a text."""
    frozen = FrozenModel.load(BASE, dtype="float32")
    prefix = compile_prefix(frozen, soft_prompt)
    return frozen.forward(input_ids=torch.tensor([list(token_ids)]), cache=prefix.to_cache(frozen), past_length=prefix.length)


@pytest.mark.parametrize("name", ["clean", "route", "mood", "tools"])
def test_every_block_of_python_in_a_shipped_soft_prompts_card_compiles(name: str) -> None:
    found = blocks(write_card(SoftPrompt.load(shipped(name)), f"acme/{name}"), "python")
    assert len(found) == 2
    for block in found:
        compile(block, name, "exec")


@pytest.mark.parametrize(
    "about",
    [
        pytest.param(soft_prompt(), id="one message"),
        pytest.param(soft_prompt(input_messages=[]), id="no messages of its own"),
        pytest.param(soft_prompt(drop_default_system=False), id="default system message kept"),
        pytest.param(
            soft_prompt(input_messages=[{"role": "system", "template": "{tone}"}, {"role": "human", "template": "{{a}} {text} {tone}"}]),
            id="several fields",
        ),
        pytest.param(multitask(["sea", "farm"], task=1), id="multitask"),
    ],
)
def test_both_blocks_run_and_give_the_same_answer(about: SoftPrompt, hub: Path) -> None:
    made = _here(about, hub)
    with_langchain, with_peft = blocks(card(made), "python")
    names, said = _run(with_langchain)
    assert names["llm"].model == BASE
    theirs, answer = _run(with_peft)
    # One answer for each way of asking.
    assert {line for line in said.splitlines() if line} == {line for line in answer.splitlines() if line}
    with torch.no_grad():
        extra = {} if made.task is None else {"task_ids": torch.tensor([made.task])}
        logits = theirs["model"](input_ids=theirs["inputs"], attention_mask=torch.ones_like(theirs["inputs"]), **extra).logits[0, -1]
    torch.testing.assert_close(_answers(made, theirs["prompt"]), logits, atol=TOLERANCE, rtol=0)


def test_the_code_for_a_folder_of_plain_peft_runs(hub: Path) -> None:
    about = tiny_soft_prompt(1)
    about.save(hub / REPO)
    with_langchain, with_peft = blocks(card(about, base_model=BASE), "python")
    said, answer = _run(with_langchain)[1], _run(with_peft)[1]
    assert said == answer != ""


@pytest.mark.parametrize("template", TEMPLATES)
def test_with_plain_peft_a_chat_is_rendered_as_it_was_in_training(template: str, hub: Path) -> None:
    tokenizer = tokenizer_with(TEMPLATES[template])
    tokenizer.save_pretrained(hub / BASE)
    _, with_peft = blocks(card(_here(soft_prompt(), hub)), "python")
    names, _ = _run(with_peft)
    assert names["prompt"] == render_plain(tokenizer, names["messages"], drop_default_system=True)


def test_the_example_is_a_text_that_answers_were_recorded_for() -> None:
    text = write_card(SoftPrompt.load(shipped("route")), "acme/route")
    for block in blocks(text, "python"):
        assert '"What is the cost for physical cards?"' in block


def test_an_example_is_cut_out_of_the_message_it_was_filled_into() -> None:
    probe = {"token_ids": [1], "next_ids": [2], "log_probs": [-0.5], "messages": [{"role": "user", "content": "{} a whale?"}]}
    template = [{"role": "human", "template": "{{}} {text}?"}]
    text = card(soft_prompt(input_messages=template, probes={"probes": [probe]}))
    assert '.invoke({"text": "a whale"})' in blocks(text, "python")[0]


def test_messages_too_long_to_show_are_asked_for_by_name() -> None:
    text = card(soft_prompt(input_messages=[{"role": "human", "template": "x" * 19_000 + "{text}"}]))
    with_langchain, with_peft = blocks(text, "python")
    assert "xxx" not in with_langchain + with_peft
    assert "soft_prompt.prompt_messages()" in with_langchain
    assert "input_messages of soft_prompt.json" in with_peft


def test_messages_that_are_no_templates_of_plain_fields_are_shown_and_not_run() -> None:
    template = "{text.__class__}"
    text = card(soft_prompt(input_messages=[{"role": "human", "template": template}]))
    assert all("__class__" not in block for block in blocks(text, "python"))
    assert f"{template}\n" in blocks(text, "text")
    assert "They are no templates of plain fields" in read(text)
