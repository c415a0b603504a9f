"""Methods and starts: what is learned, what it begins as, and that what is stored is what was learned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel, PromptTuningConfig, TaskType, get_peft_model
from torch.nn.functional import cross_entropy

from langchain_softprompt.data import instruction_ids
from langchain_softprompt.errors import FrozenModelError, InvalidSettingsError, ModelMismatchError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_model
from langchain_softprompt.training import train
from langchain_softprompt.training.learners import EmbeddingLearner
from langchain_softprompt.training.starts import new_learner, start_ids
from tests.tiny import NATIVE, frozen
from tests.unit_tests.training.learning import PROMPT, ROWS, VALIDATION, examples, one_shot_loss, served_loss, training

_SHORT = TrainingSettings(max_steps=4, batch_size=2, learning_rate=0.05, patience=None)


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def test_prompt_tunings_gradient_is_pefts_own(model: FrozenModel) -> None:
    """The rows compiled once and shared, against PEFT putting them before the text, batch 1, fp32, 1e-5 of the largest."""
    ids = instruction_ids(model, PROMPT)
    learner = EmbeddingLearner(model, model.embed(torch.tensor(ids)))
    run = training(model, method="prompt-tuning")
    (example,) = run.examples[1:2]
    run.loss([1], learner.prefix()).backward()

    fresh = tiny_model()
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=len(ids))
    peft = get_peft_model(fresh.model, config)
    rows = peft.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        rows.copy_(learner.rows)
    whole = torch.tensor([example.text + example.completion])
    logits = peft(input_ids=whole, attention_mask=torch.ones_like(whole)).logits[0, len(ids) + len(example.text) - 1 : -1]
    cross_entropy(logits, torch.tensor(example.completion)).backward()
    assert rows.grad is not None
    assert learner.rows.grad is not None
    torch.testing.assert_close(learner.rows.grad, rows.grad, rtol=1e-4, atol=1e-5 * rows.grad.abs().max().item())


@pytest.mark.parametrize("family", ["Llama", "GPT2", NATIVE[0]])
def test_prompt_tuning_starts_as_the_hard_prompt_and_serves_what_it_learned(family: str) -> None:
    """Models without reusable keys and values included: there the rows are read with each text."""
    model = frozen(family)
    run = training(model, validation=ROWS, method="prompt-tuning")
    assert run.look().loss == pytest.approx(one_shot_loss(model, ROWS), abs=1e-4)
    made = train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SHORT.override(method="prompt-tuning"))
    assert made.kind == "PROMPT_TUNING"
    assert made.manifest is not None
    assert made.manifest.scores["validation_loss"] < made.manifest.scores["initial_validation_loss"]
    if model.reuses_prefix:
        loss = served_loss(model, compile_prefix(model, made), examples(model, VALIDATION))
        assert loss == pytest.approx(made.manifest.scores["validation_loss"], abs=1e-4)


def test_the_residual_network_starts_as_nothing_and_is_stored_as_plain_rows_that_peft_loads(model: FrozenModel, tmp_path: Path) -> None:
    """Logits of PEFT's model with the stored rows against the learner's own prefix, network and all, fp32, 1e-4."""
    settings = _SHORT.override(method="prompt-tuning", residual=True)
    text = instruction_ids(model, PROMPT)
    start = new_learner(model, text, settings)
    assert torch.equal(start.soft_prompt().embedding_rows(), model.embed(torch.tensor(text)))
    run = training(model, method="prompt-tuning", residual=True, learning_rate=0.05, max_steps=5)
    run.start()
    run.run()
    folder = run.learner.soft_prompt().save(tmp_path / "rows")
    save_tiny_model(tmp_path / "model")
    peft = PeftModel.from_pretrained(tiny_model().model, str(folder)).eval()
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        theirs = peft(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
        prefix = run.learner.prefix()
    assert not torch.equal(run.learner.soft_prompt().embedding_rows(), run.learner.parameters["rows"].detach())
    ours = model.forward(input_ids=ids, cache=prefix.to_cache(model), past_length=prefix.length)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_how_large_a_models_values_are_does_not_change_what_is_learned() -> None:
    """Values 64 times smaller, taken 64 times larger into the layer's output: the same function, so the same losses, fp32, 1e-4."""
    losses = []
    for factor in (1.0, 64.0):
        model = tiny_model()
        with torch.no_grad():
            for layer in model.model.get_submodule("model").layers:
                layer.self_attn.v_proj.weight.div_(factor)
                layer.self_attn.o_proj.weight.mul_(factor)
        run = training(model, learning_rate=0.1, max_steps=6)
        run.start()
        run.run()
        losses.append([run.state.initial[0], *run.state.losses])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[0][-1] < losses[0][1]


def test_vocabulary_starts_hold_no_control_tokens_and_follow_the_seed(model: FrozenModel) -> None:
    def drawn(seed: int) -> list[int]:
        return start_ids(model, [], TrainingSettings(start="vocabulary", virtual_tokens=50, seed=seed))

    assert drawn(1) == drawn(1) != drawn(2)
    assert model.tokenizer is not None
    assert not set(drawn(1)) & set(model.tokenizer.all_special_ids)
    assert len(set(drawn(1))) == 50


@pytest.mark.parametrize("method", ["kv-prefix", "prompt-tuning"])
def test_a_run_that_starts_from_another_soft_prompt_starts_at_its_loss(model: FrozenModel, method: str) -> None:
    first = train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SHORT.override(method="prompt-tuning"))
    second = train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SHORT.override(method=method, max_steps=1), start_from=first)
    assert first.manifest is not None
    assert second.manifest is not None
    assert second.manifest.scores["initial_validation_loss"] == pytest.approx(first.manifest.scores["validation_loss"], abs=1e-4)
    assert second.manifest.training["init"] == f"soft-prompt {first.content_hash}"


def test_starts_that_do_not_fit_are_refused_with_what_would(model: FrozenModel) -> None:
    made = train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SHORT)
    with pytest.raises(InvalidSettingsError, match="keys and values, no embeddings"):
        new_learner(model, [1], TrainingSettings(method="prompt-tuning"), start_from=made)
    with pytest.raises(InvalidSettingsError, match="virtual_tokens: expected"):
        new_learner(model, [1], TrainingSettings(virtual_tokens=3), start_from=made)
    with pytest.raises(ModelMismatchError):
        new_learner(tiny_model(seed=1), [1], TrainingSettings(), start_from=made)


def test_a_model_laid_out_for_serving_is_refused(tmp_path: Path) -> None:
    packed = FrozenModel.load(save_tiny_model(tmp_path / "model"), dtype="float32", packed=True)
    with pytest.raises(FrozenModelError, match="Load it without packed"):
        new_learner(packed, [1], TrainingSettings())


def test_parameters_are_float32_and_the_prefix_has_the_models_dtype(tmp_path: Path) -> None:
    """bfloat16 compute, float32 parameters; a step goes down the loss."""
    model = FrozenModel.load(save_tiny_model(tmp_path / "model"), dtype="bfloat16")
    for method in ("kv-prefix", "prompt-tuning"):
        run = training(model, method=method, max_steps=8, learning_rate=0.05)
        run.start()
        run.run()
        assert {parameter.dtype for parameter in run.learner.parameters.values()} == {torch.float32}
        assert {tensor.dtype for layer in run.learner.prefix().layers for tensor in layer} == {torch.bfloat16}
        assert run.state.best[0] < run.state.initial[0]


def test_a_loaded_soft_prompt_is_the_one_the_run_stored(model: FrozenModel, tmp_path: Path) -> None:
    made = train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SHORT, output=tmp_path / "run")
    assert SoftPrompt.load(tmp_path / "run" / "best").content_hash == made.content_hash
