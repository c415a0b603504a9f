"""A check says what is the same, what drifted and what is broken: model, versions, chat template, probes."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from langchain_softprompt.ageing import check_soft_prompt, record_again
from langchain_softprompt.errors import ChatTemplateError, EvaluationError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.soft_prompt import ProbesRecord, SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_model, tiny_soft_prompt
from tests.tiny import WITH_DEFAULT_SYSTEM, WITHOUT_SYSTEM_ROLE, tokenizer_with
from tests.unit_tests.ageing.old import CHATS, QUESTIONS, made, scaled


@pytest.fixture
def model() -> FrozenModel:
    return tiny_model()


def _with_record(soft_prompt: SoftPrompt, **changes: Any) -> SoftPrompt:
    record = soft_prompt.manifest.probes.model_copy(update=changes)
    return replace(soft_prompt, manifest=soft_prompt.manifest.model_copy(update={"probes": record}))


def test_a_soft_prompt_of_today_is_the_same_in_every_part(model: FrozenModel) -> None:
    found = check_soft_prompt(model, made(model))
    assert (found.verdict, found.template.verdict, found.probes.verdict) == ("same", "same", "same")
    assert (found.failure, found.notes, found.evaluation, found.next_step) == ("", (), None, "Nothing to do.")
    assert found.identity.same_model
    assert found.identity.then == found.identity.now
    assert (found.identity.now.torch, found.identity.now.transformers) == (torch.__version__, transformers.__version__)


def test_a_soft_prompt_whose_numbers_changed_has_drifted_or_is_broken_by_how_much(model: FrozenModel) -> None:
    little, much = scaled(made(model), 1.05), replace(made(model), tensors=tiny_soft_prompt(11).tensors)
    drifted, broken = check_soft_prompt(model, little), check_soft_prompt(model, much)
    assert (drifted.verdict, broken.verdict) == ("drifted", "broken")
    assert drifted.probes.allowed < drifted.probes.deviation < broken.probes.deviation
    assert "Versions and precision are as recorded: the soft prompt has changed" in drifted.next_step
    assert "check --record" in drifted.next_step
    assert "Don't use it here" in broken.next_step


def test_weights_that_changed_are_another_model_and_by_opt_in_their_drift_is_measured(model: FrozenModel) -> None:
    other = copy.deepcopy(model.model)
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.dim() == 2:
                weight.add_(0.03 * weight.std() * torch.randn(weight.shape, generator=numbers))
    changed = FrozenModel.wrap(other, model.tokenizer, name="changed")
    refused = check_soft_prompt(changed, made(model))
    assert (refused.verdict, refused.identity.same_model, refused.probes) == ("broken", False, None)
    assert model.fingerprint in refused.failure
    assert "Load the model it was made for" in refused.next_step
    measured = check_soft_prompt(changed, made(model), allow_other_model=True)
    assert (measured.verdict, measured.probes.verdict, measured.failure) == ("drifted", "drifted", "")
    assert measured.next_step.startswith("This is another model than it was made for.")


def test_shapes_that_do_not_fit_are_broken_not_an_error(model: FrozenModel) -> None:
    from tests.unit_tests.engine.tiny import build

    other = build("gpt2")
    found = check_soft_prompt(FrozenModel.wrap(other.model, model.tokenizer), made(model), allow_other_model=True)
    assert found.verdict == "broken"
    assert "key-value shape" in found.failure


def test_what_is_different_since_is_named_as_the_first_suspect(model: FrozenModel) -> None:
    soft_prompt = _with_record(scaled(made(model), 1.05), transformers="4.0.0", dtype="float32", device="cuda")
    found = check_soft_prompt(model, soft_prompt)
    told = f"First suspect: device cuda then, cpu now, transformers 4.0.0 then, {transformers.__version__} now. "
    assert found.next_step.startswith(told)


@pytest.mark.parametrize(("dtype", "quantization"), [("bfloat16", None), ("float32", "int8")])
def test_another_precision_is_the_same_within_what_it_may_change(
    model: FrozenModel, tmp_path: Path, dtype: str, quantization: str | None
) -> None:
    served = FrozenModel.load(save_tiny_model(tmp_path), dtype=dtype, quantization=quantization, packed=True)
    found = check_soft_prompt(served, made(model))
    assert found.verdict == "same"
    assert found.identity.then.differences(found.identity.now) == [
        ("dtype", "float32", dtype) if quantization is None else ("quantization", "none", "int8")
    ]


def test_a_chat_template_that_renders_otherwise_is_drift_with_the_first_difference_and_its_effect(model: FrozenModel) -> None:
    """A template with a system message of its own, which this soft prompt's chats are not to be rendered without."""
    soft_prompt = made(model, drop_default_system=False)
    renewed = FrozenModel.wrap(model.model, tokenizer_with(WITH_DEFAULT_SYSTEM), name="tiny")
    found = check_soft_prompt(renewed, soft_prompt)
    assert found.verdict in {"drifted", "broken"}
    assert found.probes.verdict == "same", "the recorded tokens still get the recorded answers"
    assert found.template.compared == len(found.template.changes) == 3
    then, now = (len(render_chat(each.tokenizer, CHATS[0])) for each in (model, renewed))
    assert found.template.changes[0].probe == 1
    assert found.template.changes[0].what.startswith(f"{then} tokens then, {now} now; from token 2 on it read 'user")
    assert "now 'system" in found.template.changes[0].what
    assert found.template.effect.deviation > found.template.effect.allowed
    assert found.next_step.startswith("Chats are rendered otherwise than it was trained on.")


def test_a_new_default_system_message_does_not_touch_a_soft_prompt_that_drops_it(model: FrozenModel) -> None:
    renewed = FrozenModel.wrap(model.model, tokenizer_with(WITH_DEFAULT_SYSTEM), name="tiny")
    assert check_soft_prompt(renewed, made(model, drop_default_system=True)).verdict == "same"


def test_messages_that_todays_template_refuses_are_drift_with_its_words(model: FrozenModel) -> None:
    chats = [[{"role": "system", "content": "Be brief."}, *chat] for chat in CHATS]
    from langchain_softprompt.prefix import with_probes

    soft_prompt = with_probes(made(model, probes=False), model, chats)
    found = check_soft_prompt(FrozenModel.wrap(model.model, tokenizer_with(WITHOUT_SYSTEM_ROLE), name="tiny"), soft_prompt)
    assert (found.verdict, found.template.verdict, found.template.effect) == ("drifted", "drifted", None)
    assert "System role not supported" in found.template.changes[0].what


def test_without_probes_or_without_a_manifest_nothing_is_known(model: FrozenModel) -> None:
    for soft_prompt in (made(model, probes=False), tiny_soft_prompt(1)):
        found = check_soft_prompt(model, soft_prompt)
        assert (found.verdict, found.probes, found.notes) == ("unknown", None, ("no probes were recorded",))
        assert "check --record" in found.next_step
    assert found.identity.same_model is None


def test_without_a_tokenizer_the_probes_are_still_read(model: FrozenModel) -> None:
    found = check_soft_prompt(FrozenModel.wrap(model.model, name="tiny"), made(model))
    assert (found.verdict, found.template.verdict) == ("same", "unknown")
    assert found.notes == ("the chat template was not compared: the probes have no messages, or the model no tokenizer",)


def test_hostile_probes_are_a_note_not_an_error(model: FrozenModel) -> None:
    """Unknown tokens in what was read, and in what is shown of it."""
    probe = made(model).manifest.probes.probes[0].model_copy(update={"token_ids": [1 << 40, 5, 1 << 50]})
    found = check_soft_prompt(model, _with_record(made(model), probes=[probe]))
    assert found.probes is None
    assert "probes.0.token_ids: expected token ids from 0 to 258" in found.notes[0]
    assert found.verdict == "drifted", "its messages are rendered to tokens that exist"
    assert json.dumps(found.to_json())


def test_the_report_is_plain_json_and_says_so_for_each_part(model: FrozenModel) -> None:
    facts = json.loads(json.dumps(check_soft_prompt(model, scaled(made(model), 1.05)).to_json(), allow_nan=False))
    assert (facts["verdict"], facts["probes"]["verdict"], facts["template"]["verdict"]) == ("drifted", "drifted", "same")
    assert facts["identity"]["same_model"] is True
    assert len(facts["probes"]["probes"]) == 3


def test_a_check_reads_probes_once_and_leaves_the_log_alone(model: FrozenModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "langchain_softprompt"):
        check_soft_prompt(model, scaled(made(model), 1.05))
    assert not caplog.records


def test_probes_are_chosen_from_rows_and_renewed_from_the_messages_there(model: FrozenModel) -> None:
    soft_prompt = made(model, probes=False)
    rows = [{"text": question, "answer": "-"} for question in QUESTIONS]
    recorded = record_again(model, soft_prompt, rows)
    asked = [probe.messages[0]["content"] for probe in recorded.manifest.probes.probes]
    assert len(asked) == 3
    assert set(asked) <= set(QUESTIONS)
    changed = scaled(recorded, 1.05)
    assert check_soft_prompt(model, changed).verdict == "drifted"
    renewed = record_again(model, changed)
    assert [probe.messages[0]["content"] for probe in renewed.manifest.probes.probes] == asked
    assert check_soft_prompt(model, renewed).verdict == "same"


def test_messages_are_recorded_in_the_form_that_the_template_takes(model: FrozenModel) -> None:
    """A system message goes to the head of the user's, as in service."""
    from langchain_softprompt.soft_prompt import TemplateMessage

    strict = FrozenModel.wrap(model.model, tokenizer_with(WITHOUT_SYSTEM_ROLE), name="tiny")
    messages = [TemplateMessage(role="system", template="Be brief."), TemplateMessage(role="human", template="{text}")]
    recorded = record_again(strict, made(model, probes=False, input_messages=messages), [{"text": "Hello"}])
    assert recorded.manifest.probes.probes[0].messages == [{"role": "user", "content": "Be brief.\n\nHello"}]
    assert check_soft_prompt(strict, recorded).verdict == "same"


def test_what_cant_be_recorded_is_refused_with_what_to_do(model: FrozenModel) -> None:
    with pytest.raises(EvaluationError, match=r"acme/old has no probes to renew\. Give rows to choose some from: --record --data ROWS"):
        record_again(model, made(model, probes=False))
    with pytest.raises(EvaluationError, match="None of these rows is short enough"):
        record_again(model, made(model), [{"text": "long " * 300}])
    with pytest.raises(EvaluationError, match="does not say which messages to send"):
        record_again(model, tiny_soft_prompt(), [{"text": "Hello"}])
    with pytest.raises(ChatTemplateError, match="without a tokenizer"):
        record_again(FrozenModel.wrap(model.model, name="tiny"), made(model))
    with pytest.raises(EvaluationError, match="no probes to renew"):
        record_again(model, _with_record(made(model), **ProbesRecord().model_dump()))
