"""Each way a soft prompt's folder can be wrong, by name: error class, file, field, expected and found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from langchain_softprompt.errors import InvalidSoftPromptError, NonFiniteSoftPromptError, SoftPromptNotFoundError, UnsafeFileError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.soft_prompt.malformed_cases import CASES, ROWS, Case, Change, instead, one_number, rows
from tests.unit_tests.soft_prompt.mutations import CONFIG, MANIFEST, TENSORS, Drawn, valid
from tests.unit_tests.soft_prompt.peft_folders import MODELS, frozen


def make(folder: Path, kind: str = "PROMPT_TUNING", *, plain: bool = False) -> Path:
    Drawn(kind, {name: content for name, content in valid(kind).items() if name != MANIFEST or not plain}).write(folder)
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
def test_a_malformed_folder_is_refused_and_the_error_says_what_and_where(case: Case, tmp_path: Path) -> None:
    folder = make(tmp_path / "prompt", case.kind)
    case.change(folder)
    with pytest.raises(InvalidSoftPromptError) as caught:
        SoftPrompt.load(folder, task=case.task)
    error, message = caught.value, str(caught.value)
    assert type(error) is case.error
    assert (error.file, error.field) == (case.file, case.field)
    assert case.expected in error.expected
    assert case.found in f"{error.found}. {error.hint}"
    assert message.startswith(f"{case.file}: {case.field}: expected {error.expected}, found {error.found}.")
    assert message.isprintable()
    assert len(message) < 1_000


@pytest.mark.parametrize(
    "make_it", [lambda path: None, Path.touch, lambda path: path.symlink_to(path)], ids=["nothing", "a file", "a circle"]
)
def test_what_is_no_folder_is_not_found_by_its_name(make_it: Change, tmp_path: Path) -> None:
    make_it(tmp_path / "prompt")
    with pytest.raises(SoftPromptNotFoundError, match=r"no soft-prompt folder at '.*prompt'"):
        SoftPrompt.load(tmp_path / "prompt")


def test_a_number_too_large_for_the_models_dtype_is_refused_when_compiled(tmp_path: Path) -> None:
    """1e30 is a fine float32 and becomes Inf in float16."""
    one_number(1e30)(make(tmp_path / "prompt", plain=True))
    soft_prompt = SoftPrompt.load(tmp_path / "prompt")
    compile_prefix(frozen("llama"), soft_prompt)
    with pytest.raises(NonFiniteSoftPromptError) as caught:
        compile_prefix(frozen("llama", dtype=torch.float16), soft_prompt)
    assert str(caught.value) == (
        f"{TENSORS}: {ROWS}: expected numbers that fit float16, found 1e+30, which becomes Inf in float16. "
        "Load the frozen model with dtype='float32'."
    )


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "CARTRIDGE"])
def test_finite_keys_that_become_nan_once_text_attends_to_them_are_refused_when_compiled(kind: str, tmp_path: Path) -> None:
    rows(lambda tensor: tensor * 1e38)(make(tmp_path / "prompt", kind))
    soft_prompt = SoftPrompt.load(tmp_path / "prompt")
    with pytest.raises(NonFiniteSoftPromptError, match="expected finite logits after it, found NaN or Inf once text follows it"):
        compile_prefix(frozen("llama"), soft_prompt)


def test_embeddings_that_overflow_inside_the_model_are_refused_when_compiled(tmp_path: Path) -> None:
    """As they do where no norm stands before the first layer."""
    config = MODELS["opt"]()
    config.do_layer_norm_before = False
    model = FrozenModel.wrap(AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(torch.float16))
    rows(lambda tensor: tensor.clamp(-1, 1) * 6e4)(make(tmp_path / "prompt", plain=True))
    soft_prompt = SoftPrompt.load(tmp_path / "prompt")
    with pytest.raises(NonFiniteSoftPromptError, match="expected finite keys and values, found NaN or Inf once the model has read it"):
        compile_prefix(model, soft_prompt)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission_is_refused_by_name(tmp_path: Path) -> None:
    (make(tmp_path / "prompt") / CONFIG).chmod(0)
    with pytest.raises(InvalidSoftPromptError, match=f"{CONFIG}: access: expected a readable file"):
        SoftPrompt.load(tmp_path / "prompt")


def test_refusing_a_folder_leaves_no_file_open(tmp_path: Path) -> None:
    instead(TENSORS, Path.mkdir)(make(tmp_path / "prompt"))
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    for _ in range(3):
        with pytest.raises(UnsafeFileError):
            SoftPrompt.load(tmp_path / "prompt")
    again = os.open(os.devnull, os.O_RDONLY)
    os.close(again)
    assert again == free
