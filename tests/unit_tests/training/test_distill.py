"""distill(): a short soft prompt learns to say what a long hard prompt makes the model say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import kl_div
from typer.testing import CliRunner

from langchain_softprompt.cli.app import app
from langchain_softprompt.cli.training_output import Screen
from langchain_softprompt.data import Example, HardPrompt
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.likelihood import completion_logits
from langchain_softprompt.prefix import TokenIds, compile_segments
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_model
from langchain_softprompt.training import Nobody, StepReport, distill, make_texts
from langchain_softprompt.training.objectives import Imitation
from langchain_softprompt.training.teacher import Teacher

LONG = HardPrompt.from_pairs(
    [
        ("system", "Say where it lives, in {{one}} word."),
        ("human", "Animal: cow"),
        ("ai", "farm"),
        ("human", "Animal: whale"),
        ("ai", "sea"),
        ("human", "Animal: {text}"),
    ]
)
TEXTS = [{"text": text} for text in ("hen", "goat", "cod", "eel", "pig", "duck", "shrimp", "blue whale", "mare", "squid", "ox", "crab")]
_SETTINGS = TrainingSettings(max_steps=12, batch_size=3, learning_rate=0.05, virtual_tokens=10, patience=None, save_every=4)


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def test_the_teacher_answers_as_transformers_does_with_the_whole_prompt(model: FrozenModel) -> None:
    assert model.tokenizer is not None
    lessons = Teacher(model, LONG).teach(TEXTS[:4], max_tokens=6)
    for row, lesson in zip(TEXTS, lessons, strict=False):
        chat = [
            {"role": "system", "content": "Say where it lives, in {one} word."},
            {"role": "user", "content": "Animal: cow"},
            {"role": "assistant", "content": "farm"},
            {"role": "user", "content": "Animal: whale"},
            {"role": "assistant", "content": "sea"},
            {"role": "user", "content": f"Animal: {row['text']}"},
        ]
        whole = render_chat(model.tokenizer, chat)
        assert list(lesson.whole) == whole
        assert list(lesson.text) == render_chat(model.tokenizer, chat[-1:])
        said = model.model.generate(torch.tensor([whole]), max_new_tokens=6, do_sample=False, eos_token_id=list(model.eos_token_ids))
        assert list(lesson.completion) == said[0, len(whole) :].tolist()


@torch.no_grad()
def test_the_loss_is_torchs_kl_divergence_where_all_tokens_are_kept(model: FrozenModel) -> None:
    """Of the whole distributions, fp32, 1e-5; the tiny vocabulary is larger than what is kept, so all of it is kept here by hand."""
    teacher = Teacher(model, LONG)
    lessons = teacher.teach(TEXTS[:3], max_tokens=5)
    whole = [Example(lesson.whole, lesson.completion) for lesson in lessons]
    taught = [completion_logits(model, None, [example]).log_softmax(dim=-1) for example in whole]
    everything = [(torch.arange(rows.shape[1]).expand(rows.shape[0], -1), rows) for rows in taught]
    prefix = compile_segments(model, [TokenIds(teacher.head_ids[:10])])
    imitation = Imitation(model, [lesson.example for lesson in lessons], everything)
    student = completion_logits(model, prefix, imitation.examples).log_softmax(dim=-1)
    expected = kl_div(student, torch.cat(taught), log_target=True, reduction="none").sum(dim=-1)
    torch.testing.assert_close(imitation.divergences(prefix, range(3)), expected, rtol=1e-4, atol=1e-5)

    kept = Imitation(model, imitation.examples, teacher.distributions(lessons))
    bound = kept.divergences(prefix, range(3))
    assert bool((bound <= expected + 1e-5).all()), "the rest as one outcome gives a lower bound"
    assert bool((bound >= -1e-5).all())


@torch.no_grad()
def test_the_long_prompt_itself_has_no_divergence_from_itself(model: FrozenModel) -> None:
    teacher = Teacher(model, LONG)
    lessons = teacher.teach(TEXTS[:3], max_tokens=5)
    imitation = Imitation(model, [lesson.example for lesson in lessons], teacher.distributions(lessons))
    prefix = compile_segments(model, [TokenIds(teacher.head_ids)])
    assert float(imitation.loss(prefix, range(3))) == pytest.approx(0, abs=1e-5)


def test_it_comes_nearer_to_the_long_prompt_on_texts_it_never_saw(model: FrozenModel) -> None:
    texts = [{"text": f"{row['text']} {number}"} for number in range(4) for row in TEXTS]
    settings = _SETTINGS.override(max_steps=60, batch_size=8)
    made = distill(model, LONG, texts, settings=settings, max_answer_tokens=6)
    assert made.kl < 0.8 * made.initial_kl
    assert (made.rows, made.held_out_rows) == (43, 5)
    assert made.virtual_tokens == 10 < made.prompt_tokens
    assert made.prompt_tokens == len(Teacher(model, LONG).head_ids)
    manifest = made.soft_prompt.manifest
    assert manifest is not None
    assert [message.template for message in manifest.input_messages] == ["Animal: {text}"]
    assert manifest.method == "distilled kv-prefix"
    assert manifest.training["teacher_tokens"] == made.prompt_tokens
    assert json.dumps(made.to_json())


def test_a_tenth_of_the_long_prompt_is_the_default_length(model: FrozenModel) -> None:
    made = distill(model, LONG, TEXTS, settings=_SETTINGS.override(virtual_tokens=None, max_steps=1), max_answer_tokens=2)
    assert made.virtual_tokens == made.prompt_tokens // 10


def test_killed_and_gone_on_with_it_ends_the_same(model: FrozenModel, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Kill(Nobody):
        def on_step(self, report: StepReport) -> None:
            if report.step == 6:
                raise Killed

    whole = distill(model, LONG, TEXTS, settings=_SETTINGS, max_answer_tokens=4, output=tmp_path / "whole")
    with pytest.raises(Killed):
        distill(model, LONG, TEXTS, settings=_SETTINGS, max_answer_tokens=4, output=tmp_path / "killed", watcher=Kill())
    asked: list[None] = []
    resumed = distill(
        model,
        LONG,
        TEXTS,
        settings=_SETTINGS,
        max_answer_tokens=4,
        output=tmp_path / "killed",
        resume=True,
        on_lesson=lambda: asked.append(None),
    )
    assert resumed.soft_prompt.content_hash == whole.soft_prompt.content_hash
    assert not asked, "the long prompt's answers are kept"


def test_texts_of_its_own_are_different_and_the_same_for_one_seed(model: FrozenModel) -> None:
    made = make_texts(model, LONG, 5, seed=1)
    assert made == make_texts(model, LONG, 5, seed=1) != make_texts(model, LONG, 5, seed=2)
    assert len({row["text"] for row in made}) == len(made) >= 1
    assert all(set(row) == {"text"} and row["text"].strip() for row in made)


@pytest.mark.parametrize(
    ("rows", "named"),
    [([], "at least 2 texts"), ([{"text": "a"}], "at least 2 texts"), ([{"text": "a"}, {"other": "b"}], "row 2: field 'text'")],
)
def test_texts_that_can_not_be_used_are_named(model: FrozenModel, rows: list[dict[str, str]], named: str) -> None:
    with pytest.raises(TrainingDataError, match=named):
        distill(model, LONG, rows)


def test_a_template_of_two_fields_gets_no_texts_made_up(model: FrozenModel) -> None:
    prompt = HardPrompt.from_pairs([("system", "Add."), ("human", "{a} and {b}")])
    with pytest.raises(TrainingDataError, match="one field only, and this one has 2"):
        make_texts(model, prompt, 3)


def test_the_command_distils_scores_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_model("model")
    Path("long.json").write_text(json.dumps([message.model_dump() for message in LONG.messages]))
    Path("texts.jsonl").write_text("\n".join(map(json.dumps, TEXTS)))
    Path("test.jsonl").write_text("\n".join(json.dumps({**row, "home": "farm"}) for row in TEXTS[:3]))
    options = ["--steps", "2", "--learning-rate", "0.02", "--max-answer-tokens", "3", "--model", "model", "--virtual-tokens", "6"]
    scored = ["--test", "test.jsonl", "--target", "home"]
    result = CliRunner().invoke(
        app, ["distill", "--template", "long.json", "--data", "texts.jsonl", "--output", "out", *options, *scored, "--json"]
    )
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["virtual_tokens"] == SoftPrompt.load("./out").num_virtual_tokens == 6
    assert facts["test_rows"] == 3
    assert 0 <= facts["test_agreement"] <= 1
    again = CliRunner().invoke(app, ["distill", "--resume", "--output", "out"])
    assert again.exit_code == 0, again.stderr
    assert "virtual tokens for a prompt of" in again.stderr
    assert "On 3 rows with answers, exact match" in again.stderr, "what was asked for at first is scored again"
    assert "On 3 rows with answers the long prompt is exactly right" in Path("out/report.html").read_text("utf-8")
    refused = CliRunner().invoke(app, ["distill", "--resume", "--output", "out", "--steps", "9"])
    assert "leave --steps out" in str(refused.exception)
    scored_again = CliRunner().invoke(app, ["distill", "--resume", "--output", "out", *scored, "--json"])
    assert json.loads(scored_again.stdout)["test_rows"] == 3
    for wrong, named in (([], "--template"), (["--template", "long.json"], "--data or --self-made")):
        refused = CliRunner().invoke(app, ["distill", "--output", "other", *wrong])
        assert named in refused.stderr
        assert refused.exit_code == 2


def test_ctrl_c_in_a_distillation_says_how_to_go_on_and_ends_with_the_shells_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_model("model")
    Path("long.txt").write_text("Say where the animal lives, in one word. " * 4)
    Path("texts.jsonl").write_text("\n".join(map(json.dumps, TEXTS)))
    options = ["--steps", "3", "--learning-rate", "0.02", "--max-answer-tokens", "3", "--model", "model", "--virtual-tokens", "6"]
    begin = ["distill", "--template", "long.txt", "--input", next(iter(TEXTS[0])), "--data", "texts.jsonl", *options, "--output"]
    shown = Screen.on_step

    def press_ctrl_c(screen: Screen, report: StepReport) -> None:
        shown(screen, report)
        if report.step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Screen, "on_step", press_ctrl_c)
    stopped = CliRunner().invoke(app, [*begin, "out"])
    assert stopped.exit_code == 130, stopped.stderr
    assert "Stopped at step 2. Go on with it: langchain-softprompt distill --resume --output out" in stopped.stderr
    for_machines = CliRunner().invoke(app, [*begin, "other", "--json"])
    assert for_machines.exit_code == 130, for_machines.stderr
    assert json.loads(for_machines.stdout)["finished"] is False
    monkeypatch.setattr(Screen, "on_step", shown)
    resumed = CliRunner().invoke(app, ["distill", "--resume", "--output", "out", "--json"])
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)["finished"] is True
