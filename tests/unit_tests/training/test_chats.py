"""`train_on_chats`: a call is learned, kept with its manifest, and gone on with after a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_softprompt.data import Chat, chat_examples
from langchain_softprompt.errors import RunFolderError, TrainingDataError
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_model, tiny_tokenizer
from langchain_softprompt.training import Nobody, StepReport, train_on_chats
from tests.unit_tests.data.test_chats import CHATS, KNOWS_TOOLS

INSTRUCTIONS = "Call tools {when} it helps."
LEARNED = [Chat.of(chat) for chat in CHATS]
SETTINGS = TrainingSettings(max_steps=6, batch_size=2, learning_rate=0.02, max_tokens=2000, save_every=1, patience=None, select_by="loss")


class _Stopped(Nobody):
    """Somebody presses Ctrl-C after two steps."""

    def on_step(self, report: StepReport) -> None:
        if report.step == 2:
            raise KeyboardInterrupt


def test_the_loss_on_chats_falls_and_the_manifest_says_what_was_learned(tmp_path: Path) -> None:
    model = tiny_model()
    made = train_on_chats(model, INSTRUCTIONS, LEARNED, LEARNED[:2], settings=SETTINGS, output=tmp_path / "run", source="made up")

    manifest = SoftPrompt.load(tmp_path / "run" / "best").manifest
    assert made.content_hash == SoftPrompt.load(tmp_path / "run" / "best").content_hash
    assert manifest is not None
    assert manifest.scores["validation_loss"] < manifest.scores["initial_validation_loss"]
    assert [message.template for message in manifest.hard_prompt] == ["Call tools {{when}} it helps."]
    assert manifest.input_messages == []
    assert (manifest.data.rows, manifest.data.source) == (len(CHATS), "made up")
    assert manifest.probes is not None
    known = {chat_examples(model, [chat], max_tokens=2000, source="chats")[0].text for chat in LEARNED}
    assert {tuple(probe.token_ids) for probe in manifest.probes.probes} <= known


def test_a_run_that_was_stopped_ends_with_the_tensors_of_one_that_was_not(tmp_path: Path) -> None:
    model = tiny_model()
    whole = train_on_chats(model, INSTRUCTIONS, LEARNED, LEARNED[:2], settings=SETTINGS, output=tmp_path / "whole")
    train_on_chats(model, INSTRUCTIONS, LEARNED, LEARNED[:2], settings=SETTINGS, output=tmp_path / "run", watcher=_Stopped())
    resumed = train_on_chats(model, INSTRUCTIONS, LEARNED, LEARNED[:2], settings=SETTINGS, output=tmp_path / "run", resume=True)

    assert resumed.content_hash == whole.content_hash
    with pytest.raises(RunFolderError, match="data"):
        train_on_chats(model, INSTRUCTIONS, LEARNED[:3], LEARNED[:2], settings=SETTINGS, output=tmp_path / "run", resume=True)


def test_probes_are_chats_that_plain_messages_can_say() -> None:
    """Where the template itself tells tools, only chats without tools are written down to notice drift by."""
    model = tiny_model(tokenizer=tiny_tokenizer(chat_template=KNOWS_TOOLS))
    made = train_on_chats(model, INSTRUCTIONS, LEARNED, [], settings=SETTINGS)
    only_tools = train_on_chats(model, INSTRUCTIONS, LEARNED[1:2], [], settings=SETTINGS)

    assert made.manifest is not None
    assert made.manifest.probes is not None
    assert all("TOOLS" not in message["content"] for probe in made.manifest.probes.probes for message in probe.messages)
    assert only_tools.manifest is not None
    assert only_tools.manifest.probes is None


def test_instructions_are_needed() -> None:
    with pytest.raises(TrainingDataError, match="expected the system text"):
        train_on_chats(tiny_model(), " ", LEARNED, [])
