"""Weights laid out anew multiply as before, within the rounding that was asked for, and the model stays the model."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.llama import LlamaForward
from langchain_softprompt.testing import save_tiny_model, tiny_model, tiny_tokenizer
from langchain_softprompt.training import HardPrompt, train
from langchain_softprompt.weights import pack_linears
from langchain_softprompt.weights.half import HalfWeight, has_half_operator
from langchain_softprompt.weights.int8 import Int8Weight, has_int8_operator
from langchain_softprompt.weights.prepacked import PrepackedWeight, can_prepack
from langchain_softprompt.weights.shared import SharedLinear, SharedProduct
from tests.tiny import random_model

FAMILIES = ("Llama", "Mistral", "Gemma2", "Lfm2")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_prepacked_weight_multiplies_as_before(dtype: torch.dtype, rows: int) -> None:
    if not can_prepack(dtype):
        pytest.skip("this machine has nothing to prepack for")
    weight, bias, given = numbers(48, 32).to(dtype), numbers(48, seed=1).to(dtype), numbers(2, rows, 32, seed=2).to(dtype)
    found = PrepackedWeight(weight, bias).multiply(given)
    torch.testing.assert_close(found, linear(given, weight, bias), atol=1e-5 if dtype == torch.float32 else 0.1, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_product_is_added_without_touching_what_it_is_added_to(dtype: torch.dtype) -> None:
    weight, bias = numbers(48, 32).to(dtype), numbers(48, seed=1).to(dtype)
    given, residual = numbers(5, 32, seed=2).to(dtype), numbers(5, 48, seed=3).to(dtype)
    before, tolerance = residual.clone(), 1e-4 if dtype == torch.float32 else 0.1
    kinds = [PrepackedWeight] if can_prepack(dtype) else []
    kinds += [HalfWeight] if has_half_operator() and dtype == torch.bfloat16 else []
    for kind in (*kinds, Int8Weight):
        packed = kind(weight, bias)
        found, expected = packed.multiply_add(given, residual), packed.multiply(given).float() + residual.float()
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)
        assert torch.equal(residual, before)


@torch.inference_mode()
def test_a_half_weight_is_nearer_to_the_exact_product_than_bfloat16_is() -> None:
    if not has_half_operator():
        pytest.skip("this torch has no operator for float16 weights on this machine")
    weight, bias, given = numbers(96, 640).bfloat16(), numbers(96, seed=1).bfloat16(), numbers(2, 7, 640, seed=2)
    weight[0, :8] = 2.0 ** -torch.arange(10, 18)  # down to where float16 has fewer digits
    exact = linear(given.double(), weight.double(), bias.double())
    found, rounded = HalfWeight(weight, bias).multiply(given), linear(given.bfloat16(), weight, bias)
    assert (found - exact).norm() < 0.01 * (rounded - exact).norm()


def test_a_weight_that_float16_can_not_hold_is_refused() -> None:
    with pytest.raises(FrozenModelError, match="does not fit float16"):
        HalfWeight(torch.full((4, 4), 1e6, dtype=torch.bfloat16), None)


@pytest.mark.parametrize("fast", [True, False])
def test_int8_is_within_a_few_percent_and_a_row_does_not_depend_on_its_neighbours(fast: bool) -> None:
    if fast and not has_int8_operator():
        pytest.skip("this torch has no int8 operator for this machine")
    weight, bias, rows = numbers(96, 64), numbers(96, seed=1), numbers(9, 64, seed=2) * torch.logspace(-3, 3, 9)[:, None]
    packed = Int8Weight(weight, bias, fast=fast)
    together, exact = packed.multiply(rows), linear(rows, weight, bias)
    assert ((together - exact).norm(dim=1) < 0.03 * exact.norm(dim=1)).all()
    alone = torch.cat([packed.multiply(row[None]) for row in rows])
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


def test_an_input_that_is_always_large_does_not_drown_the_others() -> None:
    weight, rows = numbers(96, 64), numbers(30, 64, seed=2)
    rows[:, 5] *= 100
    exact = linear(rows, weight)
    plain, smoothed = (Int8Weight(weight, None, given).multiply(rows) for given in (None, rows.abs().amax(dim=0)))
    assert (smoothed - exact).norm() < 0.5 * (plain - exact).norm()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_stays_so_in_int8_and_touches_no_other(bad: float) -> None:
    """Rounded to integers it would look like any other row."""
    rows = numbers(3, 64)
    rows[1, 7] = bad
    found = Int8Weight(numbers(96, 64, seed=1), None).multiply(rows)
    assert torch.isfinite(found).all(dim=1).tolist() == [True, False, True]


def test_a_row_of_zeros_gives_zeros_in_int8() -> None:
    assert not Int8Weight(numbers(96, 64), None).multiply(torch.zeros(2, 64)).any()


def test_siblings_share_a_product_only_while_they_read_the_same_input() -> None:
    weights = [numbers(8, 16, seed=seed) for seed in range(3)]
    product = SharedProduct(PrepackedWeight(torch.cat(weights), None), [8, 8, 8])
    layers = [SharedLinear(product, index, 16, 8) for index in range(3)]
    one, other = numbers(2, 16, seed=5), numbers(2, 16, seed=6)
    for rows, index in ((one, 0), (one, 1), (other, 2), (one, 2), (one, 2), (other, 0)):
        torch.testing.assert_close(layers[index](rows), linear(rows, weights[index]), atol=1e-5, rtol=0)


def test_threads_do_not_see_each_others_products() -> None:
    weights = [numbers(8, 16, seed=seed) for seed in range(2)]
    product = SharedProduct(PrepackedWeight(torch.cat(weights), None), [8, 8])
    first, second = (SharedLinear(product, index, 16, 8) for index in range(2))
    wrong: list[int] = []

    def work(seed: int) -> None:
        for turn in range(200):
            rows = numbers(1, 16, seed=1000 * seed + turn)
            for layer, weight in ((first, weights[0]), (second, weights[1])):
                if not torch.allclose(layer(rows), linear(rows, weight), atol=1e-5):
                    wrong.append(turn)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_packed_model_says_what_it_said_before(family: str) -> None:
    before, after = random_model(family).eval(), random_model(family).eval()
    if not pack_linears(after).packed:
        pytest.skip("this machine has nothing to prepack for")
    ids = torch.randint(0, 90, (1, 12), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after(input_ids=ids).logits, before(input_ids=ids).logits, atol=2e-5, rtol=0)
    assert not any(type(layer) is nn.Linear for layer in after.modules() if layer is not after.get_output_embeddings())


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_quantized_model_is_near_what_it_was(family: str) -> None:
    before, after = random_model(family).eval(), random_model(family).eval()
    pack_linears(after, "int8")
    ids = torch.randint(0, 90, (1, 12), generator=torch.Generator().manual_seed(1))
    exact, found = before(input_ids=ids).logits, after(input_ids=ids).logits
    assert (found - exact).norm() < 0.25 * exact.norm()
    assert not torch.equal(found, exact)


def test_a_model_that_int8_hardly_touches_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """GPT-2 keeps its weights in layers of its own kind."""
    pack_linears(random_model("GPT2").eval(), "int8")
    assert "changes few of the weights of GPT2LMHeadModel" in caplog.text
    caplog.clear()
    pack_linears(random_model("Llama").eval(), "int8")
    assert "changes few" not in caplog.text


def test_packing_holds_no_weight_twice() -> None:
    model = random_model("Llama")
    old = [weakref.ref(layer.weight) for layer in model.modules() if type(layer) is nn.Linear]
    pack_linears(model, "int8")
    gc.collect()
    assert old
    assert all(weight() is None for weight in old)


def test_nothing_keeps_the_file_of_the_weights_in_memory_once_they_are_packed(tmp_path: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("this system does not tell what is mapped")
    folder = str(save_tiny_model(tmp_path).resolve())
    plain = FrozenModel.load(folder)
    assert folder in maps.read_text(encoding="utf-8")  # as long as it is read in place
    del plain
    packed = FrozenModel.load(folder, quantization="int8")
    gc.collect()
    assert packed.packed
    assert folder not in maps.read_text(encoding="utf-8")


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_a_packed_model_has_the_fingerprint_it_had_so_its_soft_prompts_still_fit(quantization: str | None, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    plain, packed = FrozenModel.load(folder), FrozenModel.load(folder, packed=True, quantization=quantization)
    assert packed.packed
    assert packed.fingerprint == plain.fingerprint
    assert isinstance(packed.passes, LlamaForward)
    assert ("int8" in repr(packed)) == (quantization == "int8")


def test_a_packed_model_refuses_to_be_trained_on_and_says_how_to_load_it() -> None:
    model = tiny_model()
    model.packed = True
    with pytest.raises(FrozenModelError, match="without packed and quantization"):
        train(model, HardPrompt.from_pairs([("system", "Answer."), ("human", "{text}")]), [], [], target="label")


def test_a_model_that_looks_into_its_linear_layers_is_served_as_it_is_and_refused_in_int8(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(tmp_path)
    random_model("Mamba2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    with caplog.at_level(logging.WARNING):
        assert not FrozenModel.load(folder, packed=True).packed
    assert "served without packed weights" in caplog.text
    with pytest.raises(FrozenModelError, match="Load it without quantization"):
        FrozenModel.load(folder, quantization="int8")


def test_int8_without_an_operator_for_it_is_smaller_and_says_it_is_no_quicker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("langchain_softprompt.weights.packing.has_int8_operator", lambda: False)
    monkeypatch.setattr("langchain_softprompt.weights.int8.has_int8_operator", lambda: False)
    with caplog.at_level(logging.WARNING):
        packing = pack_linears(random_model("Llama"), "int8")
    assert packing.packed
    assert not packing.fast
    assert "no fast operator for int8" in caplog.text


def test_a_model_without_linear_layers_can_not_be_quantized() -> None:
    with pytest.raises(FrozenModelError, match="no linear layers"):
        pack_linears(random_model("GPT2", tie_word_embeddings=True).transformer, "int8")
