"""The optimisation: it starts at the hard prompt, learns, keeps the best, and computes what serving computes."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KeyValues, compile_segments
from langchain_softprompt.testing import tiny_model
from langchain_softprompt.training import StepReport
from langchain_softprompt.training.loop import PrefixTraining, _batches
from tests.tiny import CONTINUING, WITH_BEGIN_MARK, WITH_DEFAULT_SYSTEM, frozen, tokenizer_with
from tests.unit_tests.training.learning import ROWS, VALIDATION, examples, one_shot_loss, served_loss, training


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


@pytest.mark.parametrize("family", CONTINUING)
def test_before_any_step_the_loss_is_the_hard_prompts_own(family: str) -> None:
    """Against one pass over the whole text in transformers, fp32, 1e-4."""
    model = frozen(family)
    assert training(model).validation_loss(examples(model, ROWS)) == pytest.approx(one_shot_loss(model, ROWS), abs=1e-4)


@pytest.mark.parametrize("template", [WITH_DEFAULT_SYSTEM, WITH_BEGIN_MARK], ids=["default system message", "begin mark"])
def test_the_hard_prompts_own_loss_is_met_whatever_the_template_puts_before_a_chat(template: str) -> None:
    model = tiny_model(tokenizer=tokenizer_with(template))
    assert training(model).validation_loss(examples(model, ROWS)) == pytest.approx(one_shot_loss(model, ROWS), abs=1e-4)


@pytest.mark.parametrize("family", CONTINUING)
@pytest.mark.parametrize("batch_size", [1, 6])
def test_the_trained_loss_is_the_served_loss(family: str, batch_size: int) -> None:
    """A few steps in, a padded batch with gradients against one row at a time on the compiled prefix, fp32, 1e-4."""
    model = frozen(family)
    run = training(model, batch_size=batch_size, max_steps=3, learning_rate=0.1)
    run.run(examples(model, ROWS), examples(model, VALIDATION))
    given = examples(model, ROWS)[:batch_size]
    prefix = compile_segments(model, [KeyValues(run.key_values.detach())])
    assert run._loss(given).item() == pytest.approx(served_loss(model, prefix, given), abs=1e-4)


@pytest.mark.parametrize("family", CONTINUING)
def test_meeting_the_vocabulary_at_the_wanted_positions_only_changes_neither_logits_nor_gradients(family: str) -> None:
    """Soft-capped logits (Gemma 2) included; fp32, 1e-5."""
    model = frozen(family)
    run, (short, long) = training(model), sorted(examples(model, ROWS)[1:3], key=len)
    tokens = [torch.tensor((example.text + example.completion)[:-1]) for example in (short, long)]
    ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    mask, wanted = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, example in enumerate((short, long)):
        mask[row, : len(tokens[row])] = 1
        wanted[row, len(example.text) - 1 : len(tokens[row])] = True
    logits = run._logits(ids, mask, wanted)

    layers = run.key_values.permute(1, 2, 3, 0, 4)
    virtual = layers.shape[3]
    whole = model.model(
        input_ids=ids,
        attention_mask=torch.cat([mask.new_ones(2, virtual), mask], dim=1),
        position_ids=torch.arange(virtual, virtual + ids.shape[1]).expand(2, -1),
        past_key_values=DynamicCache([(layer[0].expand(2, -1, -1, -1), layer[1].expand(2, -1, -1, -1)) for layer in layers]),
    ).logits[wanted]
    torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)

    targets = torch.tensor([token for example in (short, long) for token in example.completion])
    ours, plain = (torch.autograd.grad(cross_entropy(each, targets), run.key_values)[0] for each in (logits, whole))
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)


def test_training_lowers_the_loss_on_training_and_validation_rows(model: FrozenModel) -> None:
    run = training(model, max_steps=30, learning_rate=0.05, evaluate_every=10, batch_size=6)
    outcome = run.run(examples(model, ROWS), examples(model, VALIDATION))
    assert outcome.validation_loss < 0.8 * outcome.initial_validation_loss
    assert sum(outcome.losses[-5:]) < 0.8 * sum(outcome.losses[:5])
    assert outcome.steps == len(outcome.losses) == 30


def _run(model: FrozenModel, rows: list[dict[str, str]] = ROWS, **changes: object) -> tuple[PrefixTraining, torch.Tensor, list[StepReport]]:
    reports: list[StepReport] = []
    run = training(model, **changes)
    outcome = run.run(examples(model, rows), examples(model, VALIDATION), reports.append)
    best = min([outcome.initial_validation_loss, *(each.validation_loss for each in reports if each.validation_loss is not None)])
    assert outcome.validation_loss == best
    kept = PrefixTraining(model, outcome.key_values, run.settings).validation_loss(examples(model, VALIDATION))
    assert kept == pytest.approx(best, abs=1e-6)
    assert outcome.best_step == max([0, *(each.step for each in reports if each.best)])
    return run, outcome.key_values, reports


def test_the_best_step_is_kept_when_later_steps_are_worse(model: FrozenModel) -> None:
    """One row learned by heart: the validation rows gain at first and lose afterwards."""
    _, _, reports = _run(model, ROWS[:1], max_steps=16, learning_rate=1.0, evaluate_every=1, warmup_share=0)
    assert any(report.best for report in reports)
    assert not any(report.best for report in reports[-4:])


def test_the_start_is_kept_when_every_step_is_worse(model: FrozenModel) -> None:
    run, kept, reports = _run(model, max_steps=3, learning_rate=1e4, evaluate_every=1, warmup_share=0)
    assert not any(report.best for report in reports)
    assert torch.equal(kept, training(model).key_values)
    assert not torch.equal(kept, run.key_values)


def test_the_last_step_is_looked_at_even_between_two_looks(model: FrozenModel) -> None:
    _, _, reports = _run(model, max_steps=5, evaluate_every=3)
    assert [report.step for report in reports if report.validation_loss is not None] == [3, 5]


def test_reports_count_steps_and_tokens(model: FrozenModel) -> None:
    _, _, reports = _run(model, max_steps=6, batch_size=2)
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert {report.steps for report in reports} == {6}
    assert reports[2].tokens == sum(map(len, examples(model, ROWS))), "three steps of two are one pass over six rows"
    assert reports[-1].tokens == 2 * reports[2].tokens


def test_one_seed_gives_the_same_tensors_and_another_seed_others(model: FrozenModel) -> None:
    first, second, other = (_run(model, max_steps=4, evaluate_every=1, seed=seed)[0].key_values for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_only_the_prefix_learns(model: FrozenModel) -> None:
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    _run(model, max_steps=2)
    for name, parameter in model.model.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])
    assert not model.model.get_output_embeddings()._forward_pre_hooks


def test_an_interrupt_ends_the_run_with_the_best_so_far(model: FrozenModel) -> None:
    looked: list[float] = []

    def press_ctrl_c(report: StepReport) -> None:
        looked.append(report.validation_loss or 0.0)
        if report.step == 3:
            raise KeyboardInterrupt

    run = training(model, max_steps=50, evaluate_every=1, learning_rate=0.05)
    outcome = run.run(examples(model, ROWS), examples(model, VALIDATION), press_ctrl_c)
    assert outcome.steps == len(looked) == 3
    assert outcome.validation_loss == min([outcome.initial_validation_loss, *looked])
    assert outcome.best_step > 0


def test_any_other_error_of_the_callers_hook_comes_through_and_leaves_the_model_as_it_was(model: FrozenModel) -> None:
    def break_down(_: StepReport) -> None:
        msg = "mine"
        raise ZeroDivisionError(msg)

    with pytest.raises(ZeroDivisionError, match="mine"):
        training(model).run(examples(model, ROWS), examples(model, VALIDATION), break_down)
    assert not model.model.get_output_embeddings()._forward_pre_hooks


def test_a_loss_that_is_no_number_before_any_step_is_refused_with_the_way_out() -> None:
    model = tiny_model()
    run = training(model)
    with torch.no_grad():
        model.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(FrozenModelError, match="dtype='float32'"):
        run.run(examples(model, ROWS), examples(model, VALIDATION))


def test_validation_looks_at_no_more_rows_than_it_is_told(model: FrozenModel) -> None:
    run = training(model, max_steps=1, validation_rows=1)
    outcome = run.run(examples(model, ROWS), examples(model, VALIDATION))
    assert outcome.initial_validation_loss == pytest.approx(one_shot_loss(model, VALIDATION[:1]), abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4, 7, 100])
def test_each_pass_over_the_data_reads_every_example_once(model: FrozenModel, size: int) -> None:
    given = examples(model, ROWS)
    batches = _batches(given, size, random.Random(0))
    for _ in range(3):
        read = list(itertools.chain.from_iterable(itertools.islice(batches, -(-len(given) // size))))
        assert Counter(read) == Counter(given)
