"""Ablation: what is said to be lost without a part is what transformers loses when the part is really not there."""

from __future__ import annotations

import statistics

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, DynamicCache

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.ablation import ablate
from langchain_softprompt.prefix import KVPrefix, compile_prefix
from langchain_softprompt.testing import tiny_model, tiny_tokenizer
from tests.tiny import frozen
from tests.unit_tests.inspection.looking import (
    EXAMPLES,
    logits_by_hand,
    loss_by_hand,
    of_key_values,
    of_rows,
    random_key_values,
    random_rows,
)

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def _losses(model: FrozenModel, prefix: KVPrefix | None, kept: list[int] | None = None) -> list[float]:
    return [loss_by_hand(logits_by_hand(model, prefix, example, kept=kept), example) for example in EXAMPLES]


def _without(number: int, count: int = 5) -> list[int]:
    return [place for place in range(count) if place != number]


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_leaving_out_a_virtual_token_of_keys_and_values_is_removing_its_column(family: str) -> None:
    on = frozen(family)
    soft_prompt = random_key_values(on)
    prefix = compile_prefix(on, soft_prompt)
    found = ablate(on, soft_prompt, prefix, EXAMPLES)
    assert found.how == "left out"
    assert found.loss == pytest.approx(statistics.fmean(_losses(on, prefix)), abs=TOLERANCE)
    for number, token in enumerate(found.tokens):
        expected = statistics.fmean(_losses(on, prefix, _without(number))) - statistics.fmean(_losses(on, prefix))
        assert token.change.loss == pytest.approx(expected, abs=TOLERANCE)
    assert max(abs(token.change.loss) for token in found.tokens) > 100 * TOLERANCE


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_leaving_out_a_row_of_embeddings_is_reading_the_others_in_their_positions(family: str) -> None:
    on = frozen(family)
    soft_prompt = random_rows(on)
    rows = soft_prompt.embedding_rows()
    assert rows is not None
    found = ablate(on, soft_prompt, compile_prefix(on, soft_prompt), EXAMPLES)
    for number, token in enumerate(found.tokens):
        kept = _without(number)
        losses = []
        for example in EXAMPLES:
            ids = torch.tensor([*example.text, *example.completion])
            embeds = torch.cat([rows[kept], on.model.get_input_embeddings()(ids)])[None]
            places = torch.tensor([[*kept, *range(5, 5 + len(ids))]])
            with torch.no_grad():
                logits = on.model(
                    inputs_embeds=embeds, position_ids=places, attention_mask=torch.ones_like(places), past_key_values=DynamicCache()
                ).logits[0]
            losses.append(loss_by_hand(logits[len(kept) + len(example.text) - 1 : -1].double(), example))
        assert found.loss + token.change.loss == pytest.approx(statistics.fmean(losses), abs=TOLERANCE)


def test_switching_the_soft_prompt_off_is_the_bare_model(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model)
    found = ablate(model, soft_prompt, compile_prefix(model, soft_prompt), EXAMPLES)
    assert found.loss + found.off.loss == pytest.approx(statistics.fmean(_losses(model, None)), abs=TOLERANCE)


def test_a_virtual_token_that_is_the_mean_costs_nothing_when_it_is_averaged(model: FrozenModel) -> None:
    for soft_prompt in (random_key_values(model), random_rows(model)):
        tensor = soft_prompt.tensors["prompt_embeddings"].clone()
        tensor[2] = tensor[[0, 1, 3, 4]].mean(dim=0)
        planted = of_rows(tensor) if soft_prompt.kind == "PROMPT_TUNING" else of_key_values(tensor.reshape(5, model.num_layers, 2, 2, 8))
        found = ablate(model, planted, compile_prefix(model, planted), EXAMPLES, how="averaged")
        assert found.how == "averaged"
        assert found.tokens[2].change.loss == pytest.approx(0, abs=1e-5)
        assert all(abs(found.tokens[number].change.loss) > 1e-3 for number in (0, 1, 3, 4))


def test_averaging_puts_the_mean_key_and_value_in_the_tokens_place(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model)
    prefix = compile_prefix(model, soft_prompt)
    found = ablate(model, soft_prompt, prefix, EXAMPLES, how="averaged")
    layers = []
    for keys, values in prefix.layers:
        changed = keys.clone(), values.clone()
        for tensor in changed:
            tensor[:, 3] = tensor.mean(dim=1)
        layers.append(changed)
    assert found.loss + found.tokens[3].change.loss == pytest.approx(
        statistics.fmean(_losses(model, KVPrefix(5, tuple(layers)))), abs=TOLERANCE
    )


def test_keys_and_values_are_averaged_and_put_back_in_turn(model: FrozenModel) -> None:
    soft_prompt, before = random_key_values(model), random_key_values(model, seed=1)
    prefix, start = compile_prefix(model, soft_prompt), compile_prefix(model, before)
    found = {part.what: part.change.loss for part in ablate(model, soft_prompt, prefix, EXAMPLES, start=start).parts}
    whole = statistics.fmean(_losses(model, prefix))

    def of(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
        return statistics.fmean(_losses(model, KVPrefix(5, tuple(layers)))) - whole

    pairs = list(zip(prefix.layers, start.layers, strict=True))
    expected = {
        "every key the mean of all keys": of([(keys.mean(1, keepdim=True).expand_as(keys), values) for keys, values in prefix.layers]),
        "every value the mean of all values": of(
            [(keys, values.mean(1, keepdim=True).expand_as(values)) for keys, values in prefix.layers]
        ),
        "keys as they were before training": of([(then[0], now[1]) for now, then in pairs]),
        "values as they were before training": of([(now[0], then[1]) for now, then in pairs]),
        "both as they were before training": of(list(start.layers)),
    }
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_the_error_is_the_standard_error_of_the_mean_over_samples(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model)
    prefix = compile_prefix(model, soft_prompt)
    differences = [off - on for on, off in zip(_losses(model, prefix), _losses(model, None), strict=True)]
    off = ablate(model, soft_prompt, prefix, EXAMPLES).off
    assert off.error == pytest.approx(statistics.stdev(differences) / 3**0.5, abs=TOLERANCE)
    alone = ablate(model, soft_prompt, prefix, EXAMPLES[:1]).off
    assert alone.error is None
    assert not alone.shown


def test_right_answers_are_those_that_are_the_likeliest_token_by_token(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model)
    prefix = compile_prefix(model, soft_prompt)
    example = EXAMPLES[0]
    first = int(logits_by_hand(model, prefix, example)[0].argmax())
    right = type(example)(example.text, (first,))
    found = ablate(model, soft_prompt, prefix, [right, type(example)(example.text, ((first + 1) % 90,))])
    assert found.right == 0.5
    bare = int(logits_by_hand(model, None, example)[0].argmax())
    assert found.off.right == (0.0 if bare == first else 0.5 if bare == (first + 1) % 90 else -0.5)


def test_very_many_virtual_tokens_are_taken_away_in_neighbouring_groups(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, count=130)
    told: list[tuple[int, int]] = []
    found = ablate(model, soft_prompt, compile_prefix(model, soft_prompt), EXAMPLES[:1], on_progress=lambda *done: told.append(done))
    covered = [number for token in found.tokens for number in range(token.first, token.last + 1)]
    assert covered == list(range(130))
    assert len(found.tokens) <= 64
    assert found.tokens[0].name == "0-2"
    assert told[-1] == (len(found.tokens) + 2, len(found.tokens) + 2)


def test_a_model_that_does_without_keys_and_values_has_tokens_averaged_only() -> None:
    on = frozen("Lfm2")
    soft_prompt = random_rows(on)
    prefix = compile_prefix(on, soft_prompt)
    found = ablate(on, soft_prompt, prefix, EXAMPLES)
    assert (found.how, found.parts) == ("averaged", ())
    assert "averaged only" in found.note
    assert any(abs(token.change.loss) > 1e-3 for token in found.tokens)
    with pytest.raises(InvalidSettingsError, match="can't leave out virtual tokens"):
        ablate(on, soft_prompt, prefix, EXAMPLES, how="left out")


def test_where_a_hidden_position_would_move_the_others_tokens_are_averaged_only() -> None:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2))
    on = FrozenModel.wrap(bloom, tokenizer, name="tiny-bloom")
    soft_prompt = random_rows(on)
    found = ablate(on, soft_prompt, compile_prefix(on, soft_prompt), EXAMPLES[:1])
    assert found.how == "averaged"
    assert "ALiBi" in found.note


def test_afterwards_the_model_sees_everything_again(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model)
    prefix = compile_prefix(model, soft_prompt)
    before = logits_by_hand(model, prefix, EXAMPLES[0])
    ablate(model, soft_prompt, prefix, EXAMPLES[:1])
    assert torch.equal(logits_by_hand(model, prefix, EXAMPLES[0]), before)
