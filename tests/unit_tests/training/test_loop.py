"""The optimisation: it starts at the hard prompt, learns, keeps the best, and computes what serving computes."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KeyValues, compile_prefix, compile_segments
from langchain_softprompt.testing import tiny_model
from langchain_softprompt.training import StepReport
from langchain_softprompt.training.batches import batches
from langchain_softprompt.training.loop import Look, TrainingLoop, load
from tests.tiny import CONTINUING, WITH_BEGIN_MARK, WITH_DEFAULT_SYSTEM, frozen, tokenizer_with
from tests.unit_tests.training.learning import ROWS, VALIDATION, examples, one_shot_loss, served_loss, training


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


@pytest.mark.parametrize("family", CONTINUING)
def test_before_any_step_the_loss_is_the_hard_prompts_own(family: str) -> None:
    """Against one pass over the whole text in transformers, fp32, 1e-4."""
    model = frozen(family)
    assert training(model, validation=ROWS).look().loss == pytest.approx(one_shot_loss(model, ROWS), abs=1e-4)


@pytest.mark.parametrize("template", [WITH_DEFAULT_SYSTEM, WITH_BEGIN_MARK], ids=["default system message", "begin mark"])
def test_the_hard_prompts_own_loss_is_met_whatever_the_template_puts_before_a_chat(template: str) -> None:
    model = tiny_model(tokenizer=tokenizer_with(template))
    assert training(model, validation=ROWS).look().loss == pytest.approx(one_shot_loss(model, ROWS), abs=1e-4)


@pytest.mark.parametrize("family", CONTINUING)
@pytest.mark.parametrize("method", ["kv-prefix", "prompt-tuning"])
@pytest.mark.parametrize("batch_size", [1, 6])
def test_the_trained_loss_is_the_served_loss(family: str, method: str, batch_size: int) -> None:
    """A few steps in, a padded batch with gradients against one row at a time on what is stored and compiled, fp32, 1e-4 (2e-3 where
    keys and values are stored in float16)."""
    model = frozen(family)
    run = training(model, batch_size=batch_size, max_steps=3, learning_rate=0.1, method=method)
    run.start()
    run.run()
    rows = list(range(batch_size))
    given = [run.examples[row] for row in rows]
    stored = run.learner.soft_prompt()
    prefix = compile_prefix(model, stored)
    tolerance = 2e-3 if method == "kv-prefix" else 1e-4
    assert run.loss(rows).item() == pytest.approx(served_loss(model, prefix, given), abs=tolerance)
    if method == "kv-prefix":
        exact = compile_segments(model, [KeyValues(run.learner.prefix().stacked().detach())])
        assert run.loss(rows).item() == pytest.approx(served_loss(model, exact, given), abs=1e-4)


def _run(model: FrozenModel, rows: list[dict[str, str]] = ROWS, **changes: object) -> tuple[TrainingLoop, list[StepReport]]:
    reports: list[StepReport] = []
    run = training(model, rows, **changes)
    run.start()
    run.run(reports.append)
    state = run.state
    assert state.best[0] == min([state.initial[0], *(each.validation_loss for each in reports if each.validation_loss is not None)])
    assert state.best_step == max([0, *(each.step for each in reports if each.best)])
    kept = training(model, rows, **changes)
    load(kept.learner, state, "best")
    assert kept.look().loss == pytest.approx(state.best[0], abs=1e-6)
    return run, reports


def test_training_lowers_the_loss_on_training_and_validation_rows(model: FrozenModel) -> None:
    run, _ = _run(model, max_steps=30, learning_rate=0.05, evaluate_every=10, batch_size=6)
    state = run.state
    assert state.best[0] < 0.8 * state.initial[0]
    assert sum(state.losses[-5:]) < 0.8 * sum(state.losses[:5])
    assert state.step == len(state.losses) == 30
    assert state.finished == "all steps done"


def test_the_best_step_is_kept_when_later_steps_are_worse(model: FrozenModel) -> None:
    """One row learned by heart: the validation rows gain at first and lose afterwards."""
    _, reports = _run(model, ROWS[:1], max_steps=16, learning_rate=1.0, evaluate_every=1, warmup_share=0)
    assert any(report.best for report in reports)
    assert not any(report.best for report in reports[-4:])


def test_the_start_is_kept_when_every_step_is_worse(model: FrozenModel) -> None:
    run, reports = _run(model, max_steps=3, learning_rate=1e4, evaluate_every=1, warmup_share=0)
    assert not any(report.best for report in reports)
    start = training(model).learner.parameters["key_values"]
    assert torch.equal(run.state.part("best")["key_values"], start)
    assert not torch.equal(run.state.part("parameter")["key_values"], start)


def test_a_run_ends_early_when_look_after_look_is_no_better(model: FrozenModel) -> None:
    run, reports = _run(model, max_steps=9, learning_rate=1e4, evaluate_every=2, warmup_share=0, patience=2)
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert run.state.finished == "no better step in 2 looks"


@pytest.mark.parametrize(
    ("new", "old", "select_by", "better"),
    [
        (Look(2.0, 0.6), Look(1.0, 0.5), "exact-match", True),
        (Look(2.0, 0.6), Look(1.0, 0.5), "loss", False),
        (Look(1.0, 0.5), Look(2.0, 0.5), "exact-match", True),
        (Look(2.0, 0.5), Look(2.0, 0.5), "exact-match", False),
        (Look(float("nan"), 0.0), Look(2.0, 0.0), "exact-match", False),
        (Look(float("nan"), 0.0), Look(2.0, 0.0), "loss", False),
    ],
)
def test_the_better_look_is_the_one_asked_for_and_never_one_without_a_number(new: Look, old: Look, select_by: str, *, better: bool) -> None:
    assert new.beats(old, select_by) is better


def test_the_last_step_is_looked_at_even_between_two_looks(model: FrozenModel) -> None:
    _, reports = _run(model, max_steps=5, evaluate_every=3)
    assert [report.step for report in reports if report.validation_loss is not None] == [3, 5]


def test_without_validation_rows_the_last_step_is_the_best(model: FrozenModel) -> None:
    run = training(model, validation=[], max_steps=3)
    run.start()
    run.run()
    assert run.state.best_step == 3
    assert torch.equal(run.state.part("best")["key_values"], run.state.part("parameter")["key_values"])


def test_reports_count_steps_and_tokens(model: FrozenModel) -> None:
    _, reports = _run(model, max_steps=6, batch_size=2)
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert {report.steps for report in reports} == {6}
    assert reports[2].tokens == sum(map(len, examples(model, ROWS))), "three steps of two are one pass over six rows"
    assert reports[-1].tokens == 2 * reports[2].tokens


def test_the_learning_rate_warms_up_and_falls_along_half_a_cosine(model: FrozenModel) -> None:
    """By hand: two of ten steps of warm-up, then (1 + cos) / 2."""
    _, reports = _run(model, max_steps=10, learning_rate=0.01, warmup_share=0.2)
    rates = [report.learning_rate for report in reports]
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert rates[6] == pytest.approx(0.005)
    assert rates[-1] == pytest.approx(0.01 * 0.5 * (1 - 0.9238795), rel=1e-5)


def test_one_seed_gives_the_same_tensors_and_another_seed_others(model: FrozenModel) -> None:
    first, second, other = (_run(model, max_steps=4, seed=seed)[0].state.part("parameter")["key_values"] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", ["kv-prefix", "prompt-tuning"])
def test_only_the_soft_prompt_learns(model: FrozenModel, method: str) -> None:
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    _run(model, max_steps=2, method=method)
    for name, parameter in model.model.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])
    assert not model.model.get_output_embeddings()._forward_pre_hooks


def test_an_error_of_the_callers_hook_comes_through_and_leaves_the_model_as_it_was(model: FrozenModel) -> None:
    def break_down(_: StepReport) -> None:
        msg = "mine"
        raise ZeroDivisionError(msg)

    run = training(model)
    with pytest.raises(ZeroDivisionError, match="mine"):
        run.run(break_down)
    assert run.state.step == 1
    assert not model.model.get_output_embeddings()._forward_pre_hooks


def test_a_loss_that_is_no_number_before_any_step_is_refused_with_the_way_out() -> None:
    model = tiny_model()
    run = training(model)
    with torch.no_grad():
        model.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(FrozenModelError, match="dtype='float32'"):
        run.start()


def test_validation_looks_at_no_more_rows_than_it_is_told(model: FrozenModel) -> None:
    assert training(model, validation_rows=1).look().loss == pytest.approx(one_shot_loss(model, VALIDATION[:1]), abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4, 7, 100])
def test_each_pass_over_the_data_reads_every_example_once(model: FrozenModel, size: int) -> None:
    given = examples(model, ROWS)
    order = batches(given, size, 0)
    for _ in range(3):
        read = list(itertools.chain.from_iterable(itertools.islice(order, -(-len(given) // size))))
        assert Counter(read) == Counter(range(len(given)))


@pytest.mark.parametrize("done", [1, 2, 5, 9])
def test_batches_go_on_where_they_were_left(model: FrozenModel, done: int) -> None:
    given = examples(model, ROWS)
    whole = list(itertools.islice(batches(given, 2, 3), done + 4))
    assert list(itertools.islice(batches(given, 2, 3, done=done), 4)) == whole[done:]
