"""The load-time self-test: which models continue from a prefix, and that the others are exact in their own way or refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Cache, OPTConfig

from langchain_softprompt.errors import FrozenModelError, ModelMismatchError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.self_test import CacheUse, choose_cache_use
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import read_config
from langchain_softprompt.testing import tiny_soft_prompt
from tests.families.tiny import random_model as family_model
from tests.families.tiny import tiny_config
from tests.reading import prefill
from tests.tiny import CONTINUING, NATIVE, frozen, random_model

_TEXT = [5, 200, 31, 64, 7, 90, 120, 33]


def _rows(length: int = 4) -> SoftPrompt:
    config = read_config({"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": length, "token_dim": 32})
    return SoftPrompt(config, {"prompt_embeddings": 0.3 * torch.randn(length, 32, generator=torch.Generator().manual_seed(1))})


def _ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("langchain_softprompt")]


@torch.no_grad()
def _in_one_pass(model: FrozenModel, soft_prompt: SoftPrompt, text: list[int]) -> torch.Tensor:
    """The transformers model's own pass over soft rows and text, no cache; logits at every text position."""
    rows = soft_prompt.embedding_rows()
    assert rows is not None
    embeds = torch.cat([rows[None], model.embed(torch.tensor([text]))], dim=1)
    logits: torch.Tensor = model.model(inputs_embeds=embeds, use_cache=False).logits
    return logits[0, rows.shape[0] :]


def _decoded(model: FrozenModel, cache: Cache, virtual: int) -> list[torch.Tensor]:
    """Logits after each token of the text from the fifth on, read one by one."""
    tokens = list(enumerate(_TEXT))[4:]
    return [model.forward(input_ids=torch.tensor([[token]]), cache=cache, past_length=virtual + at) for at, token in tokens]


@pytest.mark.parametrize("family", CONTINUING)
def test_attention_models_continue_from_a_prefix(family: str) -> None:
    assert frozen(family).reuses_prefix


@pytest.mark.parametrize("family", NATIVE)
def test_models_with_other_state_need_their_native_cache_and_the_log_says_so(family: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="langchain_softprompt"):
        model = frozen(family)
    assert not model.reuses_prefix
    (message,) = _ours(caplog)
    assert type(model.model).__name__ in message
    assert "native caches" in message


@pytest.mark.parametrize("family", CONTINUING)
def test_a_passing_self_test_warns_of_nothing(family: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="langchain_softprompt"):
        frozen(family)
    assert not _ours(caplog)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", CONTINUING)
def test_half_precision_passes_the_self_test_too(family: str, dtype: torch.dtype) -> None:
    model: Any = random_model(family)
    assert choose_cache_use(model.to(dtype).eval()) is CacheUse.SLOTTED


def test_the_self_test_leaves_the_global_random_numbers_alone() -> None:
    model = random_model("Llama").eval()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    choose_cache_use(model)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("family", [*CONTINUING, *NATIVE])
def test_prefill_and_each_token_after_it_equal_the_models_own_single_pass(family: str) -> None:
    """Soft rows and text in one pass of transformers without a cache, against prefill on a compiled prefix and decoding, fp32, 1e-4."""
    model, soft_prompt = frozen(family), _rows()
    expected = _in_one_pass(model, soft_prompt, _TEXT)
    prefix = compile_prefix(model, soft_prompt)
    cache, logits = prefill(model, prefix, _TEXT[:4])
    decoded = _decoded(model, cache, prefix.length)
    torch.testing.assert_close(torch.stack([logits, *decoded]), expected[3:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", [*CONTINUING, *NATIVE])
def test_without_a_soft_prompt_a_row_equals_the_models_own_single_pass(family: str) -> None:
    model = frozen(family)
    with torch.no_grad():
        expected = model.model(input_ids=torch.tensor([_TEXT]), use_cache=False).logits[0]
    cache, logits = prefill(model, None, _TEXT[:4])
    torch.testing.assert_close(torch.stack([logits, *_decoded(model, cache, 0)]), expected[3:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", NATIVE)
def test_keys_and_values_are_refused_where_the_model_can_not_continue_from_them(family: str) -> None:
    with pytest.raises(ModelMismatchError, match="made of embeddings"):
        compile_prefix(frozen(family), tiny_soft_prompt())


def test_a_model_whose_cache_carries_nothing_is_refused_rather_than_served_wrongly() -> None:
    """RWKV keeps its state under another name, and ignores the cache it is given."""
    with pytest.raises(FrozenModelError, match="cache does not carry what was read before"):
        frozen("Rwkv")


def test_a_model_that_keeps_its_state_in_itself_is_refused_as_rows_would_overwrite_each_other() -> None:
    with pytest.raises(FrozenModelError, match="RecurrentGemmaForCausalLM can't be served: its cache does not carry"):
        FrozenModel.wrap(family_model(tiny_config("recurrent_gemma")))


def test_a_model_that_looks_at_token_ids_beside_their_embeddings_is_refused() -> None:
    """Gemma 3n has a second embedding of each token in every layer, which a soft row can't have."""
    with pytest.raises(FrozenModelError, match="it reads token ids in another way than their embeddings"):
        FrozenModel.wrap(family_model(tiny_config("gemma3n_text")))


def test_a_model_that_looks_ahead_is_refused() -> None:
    """BERT as it stands on the Hub: loaded as a causal language model, it reads both ways unless its configuration says otherwise."""
    with pytest.raises(FrozenModelError, match="BertLMHeadModel can't be served"):
        FrozenModel.wrap(family_model(tiny_config("bert", is_decoder=False)))


@pytest.mark.parametrize("family", ["bart", "pegasus", "roformer", "trocr"])
def test_models_that_count_positions_by_columns_get_a_native_cache_for_each_row(family: str) -> None:
    """In one slotted step the shorter row would be read at the longer one's position."""
    assert choose_cache_use(family_model(tiny_config(family))) is CacheUse.SNAPSHOT


def test_a_model_whose_decoding_differs_a_little_from_its_one_pass_is_read_as_generate_reads_it() -> None:
    """Nemotron-H bounds the time step in the one and not in the other, so text must not be read token by token."""
    assert choose_cache_use(family_model(tiny_config("nemotron_h"))) is CacheUse.REREAD


@pytest.mark.parametrize("missing", ["eos_token_id", "num_hidden_layers"])
def test_a_configuration_without_a_usual_name_gives_no_foreign_error(missing: str) -> None:
    model = random_model("Llama")
    delattr(model.config, missing)
    model.generation_config = None
    assert FrozenModel.wrap(model).vocab_size > 0


def test_a_model_that_can_not_be_called_as_a_language_model_is_refused() -> None:
    class Deaf(type(random_model("Llama"))):  # type: ignore[misc]
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids

    model = random_model("Llama")
    model.__class__ = Deaf
    with pytest.raises(FrozenModelError, match="Deaf can't be served"):
        FrozenModel.wrap(model)


def test_embeddings_narrower_than_the_hidden_size_are_probed_at_their_own_width() -> None:
    """OPT-350m projects its embeddings to the hidden size."""
    shape = {
        "vocab_size": 256,
        "hidden_size": 48,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
    }
    model = FrozenModel.wrap(AutoModelForCausalLM.from_config(OPTConfig(**shape, do_layer_norm_before=False, max_position_embeddings=64)))
    assert model.reuses_prefix
    assert model.hidden_size == 32
    assert compile_prefix(model, _rows()).length == 4
