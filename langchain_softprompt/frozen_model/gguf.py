"""A GGUF file becomes a transformers folder, once, in the user's cache."""

from __future__ import annotations

import copy
import glob
import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from platformdirs import user_cache_path
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from langchain_softprompt.errors import FrozenModelError, MissingExtraError

logger = logging.getLogger(__name__)

_FORMAT = "1"  # Part of the folder's name: raise it when the conversion below changes.
_SAMPLE_BYTES = 1 << 20


def cache_root() -> Path:
    """The folder for converted models: ``LANGCHAIN_SOFTPROMPT_CACHE``, or the platform's user cache."""
    chosen = os.environ.get("LANGCHAIN_SOFTPROMPT_CACHE")
    return Path(chosen) if chosen else user_cache_path("langchain-softprompt")


def converted_folder(file: Path) -> Path:
    """Convert `file` to a transformers folder (bfloat16 safetensors) unless that was done before.

    Two processes that ask at once convert once; a process that dies half-way leaves no broken folder behind.

    Raises:
        FrozenModelError: The file is not a GGUF model that transformers can read.
        MissingExtraError: The ``gguf`` package is not installed.
    """
    folder = cache_root() / "models" / f"{file.stem}-{_digest(file)}"
    if folder.is_dir():
        return folder
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            msg = f"Reading a GGUF file needs the package {package!r}. Install it with: pip install gguf accelerate"
            raise MissingExtraError(msg)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{folder.name}.lock"):
            if not folder.is_dir():
                _convert(file, folder)
    except OSError as error:
        msg = (
            f"Can't write to the cache folder {folder.parent}: {error}. Set LANGCHAIN_SOFTPROMPT_CACHE to a folder that can be written to."
        )
        raise FrozenModelError(msg) from error
    return folder


def _convert(file: Path, folder: Path) -> None:
    """Write beside the folder and rename at the end; only one process is here at a time."""
    logger.info("Converting %s once, to %s", file.name, folder)
    beside = f".{folder.name}-"
    for abandoned in folder.parent.glob(f"{glob.escape(beside)}*"):  # by a process that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=beside, dir=folder.parent))
    # transformers' own bar, so that its switch turns this one off too.
    bar = transformers_logging.tqdm(total=4, desc=f"Converting {file.name} once", unit="step")
    try:
        source = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
        loaded: Any = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, output_loading_info=True, **source)
        packed, report = loaded
        if missing := report["missing_keys"]:  # transformers would fill them with random numbers
            msg = f"{len(missing)} weights are missing, such as {min(missing)!r}"
            raise ValueError(msg)  # told below, like what transformers finds
        bar.update()
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
        bar.update()
        # transformers marks the dequantised model as "quantised, not serialisable": carry the weights to a plain one.
        config = copy.deepcopy(packed.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        plain.load_state_dict(packed.state_dict(), strict=True)
        bar.update()
        plain.generation_config.eos_token_id = tokenizer.eos_token_id
        plain.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.replace(folder)
        bar.update()
    except Exception as error:
        msg = f"Can't convert the GGUF file {file}: {error}"
        raise FrozenModelError(msg) from error
    finally:
        bar.close()
        shutil.rmtree(partial, ignore_errors=True)


def _digest(file: Path) -> str:
    """Name a file by its size and three samples: hashing all of it would cost most of a warm start."""
    try:
        size = file.stat().st_size
        digest = hashlib.sha256(f"{_FORMAT} {size}".encode())
        with file.open("rb") as stream:
            for start in (0, size // 2, max(size - _SAMPLE_BYTES, 0)):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    except OSError as error:
        msg = f"Can't read the GGUF file {file}: {error}"
        raise FrozenModelError(msg) from error
    return digest.hexdigest()[:16]
