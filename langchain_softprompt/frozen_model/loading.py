"""A folder becomes a transformers model and its tokenizer: which dtype, which device, and what is refused."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from langchain_softprompt.errors import FrozenModelError, SoftPromptError
from langchain_softprompt.frozen_model.sources import ModelSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def read_model(found: ModelSource, *, dtype: str, device: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer from a folder.

    Raises:
        FrozenModelError: The folder holds none that can be served.
    """
    try:
        config = AutoConfig.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
        refuse_encoder_decoder(config, found.name)
        wanted = choose_dtype(dtype, getattr(config, "dtype", None), device)
        with _quiet_progress_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                found.folder,
                config=config,
                dtype=wanted,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        model, report = loaded
        _refuse_missing_weights(report["missing_keys"], found)
        tokenizer = AutoTokenizer.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
        return model.to(device), tokenizer
    except SoftPromptError:
        raise
    except Exception as error:  # A broken folder surfaces as almost any error of transformers, safetensors or tokenizers.
        msg = f"Can't load the model {found.name!r} from {found.folder}: {error}"
        raise FrozenModelError(msg) from error


def refuse_encoder_decoder(config: PretrainedConfig, name: str) -> None:
    """Refuse a model that is no causal language model.

    Raises:
        FrozenModelError: It has an encoder.
    """
    if config.is_encoder_decoder:
        msg = f"{name} is an encoder-decoder model; soft prompts here need a decoder-only (causal) language model."
        raise FrozenModelError(msg)


def _refuse_missing_weights(missing: set[str], found: ModelSource) -> None:
    """Transformers fills what is missing with random numbers and only warns."""
    if missing:
        msg = (
            f"The model {found.name!r} in {found.folder} lacks {len(missing)} of its weights, {min(missing)!r} among them. Fetch it again."
        )
        raise FrozenModelError(msg)


def choose_device(device: str) -> torch.device:
    """Turn ``"auto"`` into the best device here; refuse one that is not here."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        msg = f"The device {device!r} can't be used here: {error}"
        raise FrozenModelError(msg) from error
    return place


def choose_dtype(dtype: str, stored: Any, device: torch.device) -> torch.dtype:
    """Turn ``"auto"`` into the checkpoint's own dtype, or float32 where a CPU would compute that one slowly."""
    if dtype != "auto":
        if dtype not in _DTYPES:
            msg = f"Unknown dtype {dtype!r}. Use one of: auto, {', '.join(_DTYPES)}."
            raise FrozenModelError(msg)
        return _DTYPES[dtype]
    own = _DTYPES.get(str(stored).removeprefix("torch."), torch.float32)
    if device.type == "cpu" and not (own == torch.bfloat16 and _cpu_multiplies_bfloat16()):
        return torch.float32
    return own


def _cpu_multiplies_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


@contextmanager
def _quiet_progress_bars() -> Iterator[None]:
    """A load that takes a second needs no progress bar."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers_logging.enable_progress_bar()


__all__ = ["choose_device", "choose_dtype", "read_model", "refuse_encoder_decoder"]
