"""The written-out forward of training says what transformers says, and has its gradients."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from langchain_softprompt.data import Example
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood import completion_logits, completion_loss
from langchain_softprompt.likelihood.llama import find_reader
from langchain_softprompt.prefix import KVPrefix
from tests.llamas import FAMILIES, WINDOW, build
from tests.unit_tests.likelihood.truth import leaves, random_prefix, share, targets, true_logits

# Of the largest logit, and of the whole gradient: two ways of adding the same float32 numbers up.
LOGITS, GRADIENT = 1e-5, 1e-4

_MODELS: dict[str, FrozenModel] = {}

# Few different tokens, so that rows often begin alike, contain each other, or are the same; some past the window.
_TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=2 * WINDOW).map(tuple)
_BATCHES = st.lists(st.builds(Example, _TOKENS, st.lists(st.integers(0, 95), min_size=1, max_size=5).map(tuple)), min_size=1, max_size=6)
ROWS = [
    Example((5, 6, 7, 8, 9, 10, 11, 12), (20, 21)),
    Example((5, 6, 7, 30), (31, 32, 33, 34)),
    Example((5, 6, 7, 30), (31, 40)),
    Example((50,), (51,)),
    Example((5, 6, 7, 30), (31, 32, 33, 34)),
    Example((5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18), (60, 61, 62)),
]


def frozen(family: str) -> FrozenModel:
    if family not in _MODELS:
        _MODELS[family] = FrozenModel.wrap(build(family), name=family)
    return _MODELS[family]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(batch=_BATCHES, length=st.sampled_from([0, 1, 3, WINDOW + 2]))
def test_logits_and_gradients_are_those_of_transformers_row_by_row(family: str, batch: list[Example], length: int) -> None:
    """Ragged batches against one row at a time under autograd, float32: logits within 1e-5 of the largest, gradients within 1e-4."""
    model = frozen(family)
    assert find_reader(model, learning=True) is not None
    prefix = random_prefix(model.model, length)
    found, expected = completion_logits(model, prefix, batch), true_logits(model.model, prefix, batch)
    assert (found - expected).abs().max() <= LOGITS * expected.abs().max()
    if prefix is None:
        return
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((logits * pull).sum(), leaves(prefix)) for logits in (found, expected)]
    assert share(*gradients) <= GRADIENT
    whole = torch.cat([gradient.flatten() for gradient in gradients[1]]).norm()
    for one, other in zip(*gradients, strict=True):  # no layer's is lost in the sum
        assert (one - other).norm() <= 10 * GRADIENT * other.norm() + 1e-6 * whole


@pytest.mark.parametrize("family", ["llama", "llama, tied embeddings", "qwen3, window in one layer"])
@settings(max_examples=10, deadline=None)
@given(batch=_BATCHES)
def test_the_loss_is_the_cross_entropy_of_transformers_logits_with_its_gradient(family: str, batch: list[Example]) -> None:
    """Within 1e-5 and 1e-4, and the same loss without gradients."""
    model = frozen(family)
    prefix = random_prefix(model.model, 4)
    assert prefix is not None
    loss, expected = completion_loss(model, prefix, batch), cross_entropy(true_logits(model.model, prefix, batch), targets(batch))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert share(torch.autograd.grad(3 * loss, leaves(prefix)), torch.autograd.grad(3 * expected, leaves(prefix))) <= GRADIENT
    with torch.no_grad():
        assert completion_loss(model, prefix, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_only_the_layers_that_ask_get_gradients() -> None:
    model = frozen("llama")
    prefix = random_prefix(model.model, 3)
    assert prefix is not None
    (first, second), rest = prefix.layers[0], prefix.layers[1:]
    half = KVPrefix(3, ((first, second.detach()), *((keys.detach(), values.detach()) for keys, values in rest)))
    (found,) = torch.autograd.grad(completion_loss(model, half, ROWS), [first])
    (expected,) = torch.autograd.grad(cross_entropy(true_logits(model.model, prefix, ROWS), targets(ROWS)), [first])
    assert share([found], [expected]) <= GRADIENT


def test_a_step_is_the_same_bit_for_bit_in_another_run_and_another_process() -> None:
    """At one number of threads; going on after a kill relies on it."""
    command = [sys.executable, "-c", "from tests.unit_tests.likelihood.test_llama_reader import digest; print(digest())"]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    assert digest() == digest() == there


def digest() -> str:
    """Loss and gradients of a batch, as one word."""
    import hashlib

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = FrozenModel.wrap(build("llama", hidden_size=64, vocab_size=512))
        prefix = random_prefix(model.model, 7)
        assert prefix is not None
        loss = completion_loss(model, prefix, ROWS)
        loss.backward()  # type: ignore[no-untyped-call]
        parts = [loss.detach(), *(leaf.grad for leaf in leaves(prefix) if leaf.grad is not None)]
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "qwen3", "smollm3, window in one layer"])
def test_in_sixteen_bits_it_is_as_near_to_the_truth_as_transformers(family: str, dtype: torch.dtype) -> None:
    """The truth is float32 on the same rounded weights and prefix. Half as far again is allowed: rounding is luck."""
    model = FrozenModel.wrap(build(family).to(dtype))
    assert find_reader(model, learning=True) is not None
    exact = build(family)
    exact.load_state_dict({name: weight.float() for name, weight in model.model.state_dict().items()})
    prefix = random_prefix(model.model, 4)
    assert prefix is not None
    wide = KVPrefix(
        4, tuple((keys.detach().float().requires_grad_(), values.detach().float().requires_grad_()) for keys, values in prefix.layers)
    )
    truth, ours, theirs = true_logits(exact, wide, ROWS), completion_logits(model, prefix, ROWS), true_logits(model.model, prefix, ROWS)
    assert ours.dtype == theirs.dtype == dtype
    assert share([ours], [truth]) <= 1.5 * share([theirs], [truth])
    true_gradient = torch.autograd.grad(cross_entropy(truth, targets(ROWS)), leaves(wide))
    our_gradient = torch.autograd.grad(completion_loss(model, prefix, ROWS), leaves(prefix))
    their_gradient = torch.autograd.grad(cross_entropy(theirs.float(), targets(ROWS)), leaves(prefix))
    assert all(gradient.dtype == dtype for gradient in our_gradient)
    assert share(our_gradient, true_gradient) <= 1.5 * share(their_gradient, true_gradient)


def test_what_a_step_kept_is_let_go_of_on_the_way_back() -> None:
    """As autograd does: a second way back is refused, unless it was asked for, and a loss that is still held holds nothing else."""
    model = frozen("llama")
    prefix = random_prefix(model.model, 3)
    assert prefix is not None
    loss = completion_loss(model, prefix, ROWS)
    once = torch.autograd.grad(loss, leaves(prefix), retain_graph=True)
    node = loss.grad_fn
    while node is not None and type(node).__name__ != "_ReadBackward":
        node = node.next_functions[0][0]
    assert node is not None
    held = [
        weakref.ref(tensor) for tensor in node.saved_tensors if tensor is not None and tensor.grad_fn is None and not tensor.requires_grad
    ]
    assert share(torch.autograd.grad(loss, leaves(prefix)), once) == 0
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, leaves(prefix))
    gc.collect()
    assert held
    assert not any(one() for one in held)
