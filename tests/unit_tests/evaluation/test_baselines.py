"""Baselines: the hard prompt, solved examples, and what a soft prompt started as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.data import HardPrompt, instruction_ids, mark_of, row_marks
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.evaluation import (
    EvaluationOptions,
    baselines,
    evaluate,
    folded_few_shot_arm,
    hard_prompt_arm,
    initialisation_arm,
    soft_prompt_arm,
)
from langchain_softprompt.evaluation.arms import Arm
from langchain_softprompt.evaluation.training_rows import MOSTLY, share_of_training_rows
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.manifest import MOST_MARKS
from langchain_softprompt.training import train
from tests.tiny import WITH_DEFAULT_SYSTEM, WITHOUT_SYSTEM_ROLE, frozen, tokenizer_with
from tests.unit_tests.evaluation.judging import INSTRUCTIONS, PROMPT, ROWS, TRAIN, model, soft_prompt

_QUICK = EvaluationOptions(resamples=100, knowledge=False)


def _length(on: FrozenModel) -> int:
    return len(instruction_ids(on, PROMPT))


def test_a_kv_prefix_that_started_as_the_whole_hard_prompt_has_the_hard_prompt_as_its_initialisation() -> None:
    on = model()
    arm = soft_prompt_arm(soft_prompt(on, 1, virtual_tokens=_length(on)), name="one")
    arms, left_out = baselines(on, [arm], ROWS, target="label", train_rows=TRAIN, few_shot=2)
    assert [each.name for each in arms] == ["hard prompt", "hard prompt + 2 examples"]
    assert left_out == {"initialisation": "it started as the whole hard prompt, whose scores stand above"}


def test_and_that_is_true_the_computed_start_scores_what_the_hard_prompt_scores() -> None:
    on = model()
    arm = soft_prompt_arm(soft_prompt(on, 1, virtual_tokens=_length(on)), name="one")
    start = initialisation_arm(on, arm, PROMPT)
    assert isinstance(start, Arm)
    judged = evaluate(on, [start, hard_prompt_arm(PROMPT)], ROWS, target="label", options=_QUICK)
    one, other = judged.arms
    assert one.answers == other.answers
    assert one.scores["perplexity"].value == pytest.approx(other.scores["perplexity"].value, rel=1e-5)


@pytest.mark.parametrize("factor", [0.5, 1.6])
def test_a_shorter_or_longer_prefix_started_as_the_instructions_cut_or_repeated(factor: float) -> None:
    """Its keys and values are those that one pass of transformers over these tokens makes."""
    on = model()
    ids = instruction_ids(on, PROMPT)
    length = int(factor * len(ids))
    arm = soft_prompt_arm(soft_prompt(on, 1, virtual_tokens=length), name="one")
    (_, _, start), left_out = baselines(on, [arm], ROWS, target="label", train_rows=TRAIN, few_shot=1)
    assert not left_out
    assert (start.name, start.kind) == ("initialisation", "initialisation")
    assert start.soft_prompt is not None
    prefix = compile_prefix(on, start.soft_prompt)
    cache = on.model(input_ids=torch.tensor([(ids * 2)[:length]]), use_cache=True).past_key_values
    for (keys, values), layer in zip(prefix.layers, cache.layers, strict=True):
        torch.testing.assert_close(keys, layer.keys[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(values, layer.values[0], rtol=1e-5, atol=1e-5)


def test_a_run_folder_keeps_the_start_and_it_is_found_beside_the_best(tmp_path: Path) -> None:
    on = model()
    settings = TrainingSettings(max_steps=3, batch_size=2, learning_rate=0.01, method="prompt-tuning", start="vocabulary", virtual_tokens=6)
    train(on, PROMPT, TRAIN, ROWS, target="label", settings=settings, output=tmp_path / "run")
    arm = soft_prompt_arm(SoftPrompt.load(tmp_path / "run" / "best"), name="best")
    start = initialisation_arm(on, arm, PROMPT)
    assert isinstance(start, Arm)
    assert start.soft_prompt is not None
    saved = SoftPrompt.load(tmp_path / "run" / "initial")
    assert start.soft_prompt.content_hash == saved.content_hash != (arm.soft_prompt.content_hash if arm.soft_prompt else "")
    assert start.render(on, ROWS[0], "label") == arm.render(on, ROWS[0], "label")


def test_what_started_as_something_that_was_not_kept_has_no_initialisation_and_the_reason_is_said() -> None:
    on = model()
    drawn = soft_prompt_arm(soft_prompt(on, 1, training={"init": "vocabulary"}), name="drawn")
    tuned = soft_prompt_arm(soft_prompt(on, 2, method="prompt-tuning"), name="tuned")
    _, left_out = baselines(on, [drawn, tuned], ROWS, target="label")
    assert left_out["initialisation of drawn"] == "it started as vocabulary, which was not kept"
    assert "its method is not one whose start can be computed" in left_out["initialisation of tuned"]
    assert left_out["few-shot"] == "no training rows were given to draw examples from"


def test_a_start_that_is_given_comes_before_all_others() -> None:
    on = model()
    arm = soft_prompt_arm(soft_prompt(on, 1), name="one")
    given = soft_prompt(on, 7)
    arms, _ = baselines(on, [arm], ROWS, target="label", init_from=given)
    assert arms[-1].soft_prompt is given


def test_soft_prompts_of_one_hard_prompt_share_its_baselines_and_others_have_their_own() -> None:
    on = model()
    other = HardPrompt.from_pairs([("system", "Where is it?"), ("human", "{text}")])
    arms = [
        soft_prompt_arm(soft_prompt(on, 1), name="one"),
        soft_prompt_arm(soft_prompt(on, 2), name="two"),
        soft_prompt_arm(soft_prompt(on, 3, hard_prompt=list(other.messages), input_messages=list(other.inputs)), name="three"),
    ]
    made, _ = baselines(on, arms[:2], ROWS, target="label", few_shot=0)
    assert [arm.name for arm in made if arm.kind == "hard prompt"] == ["hard prompt"]
    made, _ = baselines(on, arms, ROWS, target="label", train_rows=TRAIN, few_shot=1)
    assert [arm.name for arm in made if arm.kind == "hard prompt"] == ["hard prompt of one", "hard prompt of three"]
    assert [arm.name for arm in made if arm.kind == "few-shot"] == ["hard prompt + 1 examples of one", "hard prompt + 1 examples of three"]


def test_too_few_rows_for_the_examples_leave_few_shot_out_and_nothing_else() -> None:
    on = model()
    arms, left_out = baselines(on, [soft_prompt_arm(soft_prompt(on, 1), name="one")], ROWS, target="label", train_rows=TRAIN, few_shot=9)
    assert [arm.name for arm in arms] == ["hard prompt", "initialisation"]
    assert "from 1 to 6 examples" in left_out["few-shot"]


def test_a_plain_peft_folder_without_a_template_has_no_hard_prompt_and_says_so() -> None:
    on = model()
    _, left_out = baselines(on, [soft_prompt_arm(soft_prompt(on, 1, hard_prompt=[]), name="one")], ROWS, target="label")
    assert "no template was given" in left_out["hard prompt"]


def test_where_a_chat_template_refuses_system_messages_the_hard_prompt_is_folded_into_the_question_as_in_service() -> None:
    """Against `render_messages`, which is what the chat model reads."""
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    from langchain_softprompt.evaluation import few_shot_arm
    from langchain_softprompt.messages import render_messages

    on = frozen("Llama", tokenizer_with(WITHOUT_SYSTEM_ROLE))
    arm = hard_prompt_arm(PROMPT)
    ours = arm.render(on, ROWS[0], "label")
    served = render_messages(on.tokenizer, [SystemMessage(INSTRUCTIONS), HumanMessage("Animal: cow")])  # type: ignore[arg-type]
    assert list(ours.text) == served
    few = few_shot_arm(PROMPT, TRAIN[:1], 1, target="label").render(on, ROWS[0], "label")
    messages = [SystemMessage(INSTRUCTIONS), HumanMessage("Animal: pig"), AIMessage("farm"), HumanMessage("Animal: cow")]
    assert list(few.text) == render_messages(on.tokenizer, messages)  # type: ignore[arg-type]


@pytest.mark.parametrize("drop", [True, False])
def test_a_soft_prompts_question_is_rendered_as_the_chat_model_renders_it(*, drop: bool) -> None:
    from langchain_core.messages import HumanMessage

    from langchain_softprompt.messages import render_messages

    on = frozen("Llama", tokenizer_with(WITH_DEFAULT_SYSTEM))
    arm = soft_prompt_arm(soft_prompt(on, 1, drop_default_system=drop))
    served = render_messages(on.tokenizer, [HumanMessage("Animal: cow")], drop_default_system=drop)  # type: ignore[arg-type]
    assert list(arm.render(on, ROWS[0], "label").text) == served


@pytest.mark.parametrize("template", ["{text:>999999999999}", "{text.__class__}", "{text!r}", "{"])
def test_messages_of_a_strangers_manifest_may_ask_for_plain_fields_only(template: str) -> None:
    """Filling the first one in would take a terabyte."""
    hostile = soft_prompt(model(), input_messages=[{"role": "human", "template": template}])
    with pytest.raises(TrainingDataError, match=r"soft-0: .*(plain field name|no f-string template)"):
        soft_prompt_arm(hostile)


def test_a_start_does_not_expect_the_words_of_what_was_trained(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """The probes of a trained soft prompt are its own: its start, when it is used, is not called drifted by them."""
    on = model()
    settings = TrainingSettings(max_steps=3, batch_size=2, learning_rate=0.1, start="vocabulary", virtual_tokens=6)
    trained = train(on, PROMPT, TRAIN, ROWS, target="label", settings=settings, output=tmp_path / "run")
    assert trained.manifest is not None
    assert trained.manifest.probes is not None
    start = initialisation_arm(on, soft_prompt_arm(SoftPrompt.load(tmp_path / "run"), name="best"), PROMPT)
    assert isinstance(start, Arm)
    assert start.soft_prompt is not None
    assert start.soft_prompt.manifest is not None
    assert start.soft_prompt.manifest.probes is None
    evaluate(on, [start], ROWS, target="label", options=EvaluationOptions(knowledge=False, resamples=100))
    assert not [warning for warning in recwarn if "recorded with" in str(warning.message)]


def test_a_folder_that_only_happens_to_be_called_initial_is_no_start(tmp_path: Path) -> None:
    on = model()
    soft_prompt(on, 3).save(tmp_path / "initial")
    for name in ("mine", "best"):
        soft_prompt(on, 1, method="prompt-tuning").save(tmp_path / name)
        found = initialisation_arm(on, soft_prompt_arm(SoftPrompt.load(tmp_path / name), name="one"), PROMPT)
        assert isinstance(found, str)


@pytest.mark.parametrize("change", ["order", "one less", "held out", "other fields"])
def test_training_rows_are_known_again_however_they_come(change: str) -> None:
    on = model()
    rows = [*ROWS, *TRAIN]
    learned, watched = (rows[2:], rows[:2]) if change == "held out" else (rows, [])
    settings = TrainingSettings(max_steps=1, batch_size=2, learning_rate=0.1)
    made = train(on, PROMPT, learned, watched, target="label", settings=settings)
    asked = {
        "order": rows[::-1],
        "one less": rows[1:],
        "held out": rows,
        "other fields": [{"more": "x", **row} for row in rows],
    }[change]
    arm = soft_prompt_arm(made, name="made")
    assert share_of_training_rows(arm, asked) >= MOSTLY
    judged = evaluate(on, [arm], asked, target="label", options=EvaluationOptions(knowledge=False, resamples=100))
    assert any("of the rows that made was trained on are among these" in note for note in judged.notes)
    unseen = [{**row, "text": f"another {row['text']}"} for row in rows]
    assert share_of_training_rows(arm, unseen) == 0


@given(learned=st.sets(st.integers(0, 400), min_size=1), asked=st.sets(st.integers(0, 400)))
def test_marks_estimate_the_share_of_training_rows(learned: set[int], asked: set[int]) -> None:
    """All is all, none is none, and in between within what 64 draws can tell (five standard errors)."""
    marks = row_marks([{"n": str(number)} for number in learned], ["n"])
    known = {mark_of({"n": str(number)}, ["n"]) for number in asked}
    share, true = sum(mark in known for mark in marks) / len(marks), len(learned & asked) / len(learned)
    assert len(marks) == min(MOST_MARKS, len(learned))
    if true in (0, 1):
        assert share == true
    assert abs(share - true) <= 5 * (true * (1 - true) / len(marks)) ** 0.5 + 1e-9


def test_without_probes_a_manifest_keeps_no_marks_of_rows_either() -> None:
    settings = TrainingSettings(max_steps=1, batch_size=2, learning_rate=0.1)
    made = train(model(), PROMPT, TRAIN, [], target="label", settings=settings, probes=False)
    assert made.manifest is not None
    assert made.manifest.data is not None
    assert made.manifest.data.marks == []


def test_in_folds_examples_come_from_the_other_folds() -> None:
    folds = [[0, 3, 6], [1, 4, 7], [2, 5]]
    arm = folded_few_shot_arm(PROMPT, ROWS, folds, 2, target="label")
    for part, numbers in arm.parts(len(ROWS)):
        shown = {message["content"].removeprefix("Animal: ") for message in part.head if message["role"] == "user"}
        assert len(shown) == 2
        assert not shown & {ROWS[number]["text"] for number in numbers}
