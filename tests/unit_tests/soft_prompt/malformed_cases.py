"""Changes that make a valid soft-prompt folder malformed, and what the error must say of each."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from langchain_softprompt.errors import InvalidSoftPromptError, NonFiniteSoftPromptError, UnsafeFileError, UnsupportedSoftPromptError
from tests.unit_tests.soft_prompt.mutations import CONFIG, MANIFEST, TENSORS

Change = Callable[[Path], None]
ROWS = "prompt_embeddings"


@dataclass(frozen=True)
class Case:
    """A change to a valid folder, and what the error must say."""

    name: str
    change: Change
    error: type[InvalidSoftPromptError]
    file: str
    field: str
    expected: str
    found: str
    kind: str = "PROMPT_TUNING"
    task: Any = None


def config(**fields: object) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text())
        content.update(fields)
        (folder / CONFIG).write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))

    return change


def manifest(**fields: object) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / MANIFEST).read_text()) | fields
        (folder / MANIFEST).write_text(json.dumps(content))

    return change


def tensors(edit: Callable[[dict[str, Tensor]], object]) -> Change:
    def change(folder: Path) -> None:
        content = load_file(folder / TENSORS)
        edit(content)
        save_file(content, folder / TENSORS)

    return change


def rows(edit: Callable[[Tensor], Tensor]) -> Change:
    return tensors(lambda content: content.update({ROWS: edit(content[ROWS]).contiguous()}))


def one_number(value: float) -> Change:
    def edit(tensor: Tensor) -> Tensor:
        tensor[2, 3] = value
        return tensor

    return rows(edit)


def gone(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def cut(name: str, keep: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep]) and None


def written(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content) and None


def instead(name: str, put: Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        put(folder / name)

    return change


def pickle_only(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / TENSORS).rename(folder / name)

    return change


def header(text: str, length: int | None = None) -> Change:
    """A tensor file whose header says this, and its length that."""
    content = text.encode()
    return lambda folder: (folder / TENSORS).write_bytes((length or len(content)).to_bytes(8, "little") + content)


def huge(name: str, size: int) -> Change:
    return lambda folder: os.truncate(folder / name, size)


CASES = [
    # Files
    Case("no configuration", gone(CONFIG), InvalidSoftPromptError, CONFIG, "presence", "the file", "no such file"),
    Case("no tensors", gone(TENSORS), InvalidSoftPromptError, TENSORS, "presence", "the file", "no such file"),
    Case("configuration cut short", cut(CONFIG, 40), InvalidSoftPromptError, CONFIG, "content", "valid JSON", "line"),
    Case("empty configuration", cut(CONFIG, 0), InvalidSoftPromptError, CONFIG, "content", "valid JSON", "Expecting value"),
    Case("tensors cut short", cut(TENSORS, 300), InvalidSoftPromptError, TENSORS, "content", "a whole safetensors file", "incomplete"),
    Case("empty tensor file", cut(TENSORS, 0), InvalidSoftPromptError, TENSORS, "content", "a whole safetensors file", "header too small"),
    *(
        Case(f"only {name}", pickle_only(name), UnsafeFileError, name, "format", TENSORS, "pickled weights only")
        for name in ("adapter_model.bin", "pytorch_model.bin", "decoder.pt")
    ),
    Case("a folder as tensors", instead(TENSORS, Path.mkdir), UnsafeFileError, TENSORS, "kind", "a regular file", "drwx"),
    Case("a pipe as tensors", instead(TENSORS, os.mkfifo), UnsafeFileError, TENSORS, "kind", "a regular file", "prw"),
    Case("a pipe as configuration", instead(CONFIG, os.mkfifo), UnsafeFileError, CONFIG, "kind", "a regular file", "prw"),
    Case(
        "a link in a circle",
        instead(TENSORS, lambda path: path.symlink_to(path)),
        InvalidSoftPromptError,
        TENSORS,
        "access",
        "readable",
        "",
    ),
    # Sizes
    Case("an endless header", header("{}", 1 << 40), InvalidSoftPromptError, TENSORS, "header", "at most 1048576 bytes", "1099511627776"),
    Case(
        "a header of many tensors",
        header(json.dumps({f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(1000)})),
        InvalidSoftPromptError,
        TENSORS,
        "tensors",
        "at most 15",
        "1000",
    ),
    Case("gigabytes of tensors", huge(TENSORS, (1 << 30) + 1), InvalidSoftPromptError, TENSORS, "size", "1073741824 bytes", "1073741825"),
    Case("megabytes of configuration", huge(CONFIG, 5 << 20), InvalidSoftPromptError, CONFIG, "size", "4194304 bytes", "5242880 bytes"),
    *(
        Case(
            f"{count!r} virtual tokens",
            config(num_virtual_tokens=count),
            InvalidSoftPromptError,
            CONFIG,
            "num_virtual_tokens",
            expected,
            found,
        )
        for count, expected, found in (
            (10**9, "less than or equal to 16384", "1000000000"),
            (10**40, "less than or equal to 16384", "10000000"),
            (0, "greater than or equal to 1", "0"),
            (-3, "greater than or equal to 1", "-3"),
            (True, "integer", "True"),
            ("5", "integer", "'5'"),
            (5.0, "integer", "5.0"),
            (None, "integer", "None"),
            (..., "a value", "nothing"),
        )
    ),
    Case("an absurd width", config(token_dim=1 << 40), InvalidSoftPromptError, CONFIG, "token_dim", "1048576", "1099511627776"),
    # Tensors
    Case("another rank", rows(torch.flatten), InvalidSoftPromptError, TENSORS, ROWS, "shape 5 x 32", "shape 160"),
    Case("a scalar", rows(lambda t: t[0, 0]), InvalidSoftPromptError, TENSORS, ROWS, "shape 5 x 32", "one number"),
    Case("too few rows", rows(lambda t: t[:4]), InvalidSoftPromptError, TENSORS, ROWS, "shape 5 x 32", "shape 4 x 32"),
    Case("another hidden size", rows(lambda t: t[:, :31]), InvalidSoftPromptError, TENSORS, ROWS, "shape 5 x 32", "shape 5 x 31"),
    *(
        Case(f"stored as {dtype}", rows(lambda t, dtype=dtype: t.to(dtype)), InvalidSoftPromptError, TENSORS, ROWS, "F32, F16, BF16", found)
        for dtype, found in ((torch.float64, "float64"), (torch.int64, "int64"), (torch.bool, "bool"))
    ),
    Case(
        "another name",
        tensors(lambda t: t.update({"lora_A": t.pop(ROWS)})),
        InvalidSoftPromptError,
        TENSORS,
        "tensors",
        "prompt_embeddings",
        "lora_A",
    ),
    Case(
        "one tensor more",
        tensors(lambda t: t.update({"base_model.lm_head.weight": torch.zeros(2)})),
        InvalidSoftPromptError,
        TENSORS,
        "tensors",
        "prompt_embeddings",
        "base_model.lm_head.weight, prompt_embeddings",
    ),
    Case("NaN", one_number(float("nan")), NonFiniteSoftPromptError, TENSORS, ROWS, "finite numbers", "1 NaN or Inf"),
    Case("Inf", one_number(float("inf")), NonFiniteSoftPromptError, TENSORS, ROWS, "finite numbers", "1 NaN or Inf"),
    Case("minus Inf", one_number(float("-inf")), NonFiniteSoftPromptError, TENSORS, ROWS, "finite numbers", "1 NaN or Inf"),
    # Layers and heads of keys and values
    *(
        Case(f"{name} {value}", config(**{name: value}), InvalidSoftPromptError, file, field, expected, found, kind)
        for kind in ("PREFIX_TUNING", "CARTRIDGE")
        for name, value, file, field, expected, found in (
            ("num_layers", 4, TENSORS, ROWS, "shape 5 x 256", "shape 5 x 192"),
            ("token_dim", 48, TENSORS, ROWS, "shape 5 x 288", "shape 5 x 192"),
            ("num_attention_heads", 3, CONFIG, "token_dim", "a multiple of num_attention_heads (3)", "32"),
            ("num_layers", ..., CONFIG, "num_layers", "a value", "nothing"),
            ("num_attention_heads", None, CONFIG, "num_attention_heads", "a valid integer", "None"),
        )
    ),
    # Types
    *(
        Case(
            f"type {kind}", config(peft_type=kind), UnsupportedSoftPromptError, CONFIG, "peft_type", "one of PROMPT_TUNING, P_TUNING", found
        )
        for kind, found in (
            ("LORA", "'LORA'. This type can't be served as a static prefix: it changes weights."),
            ("ADAPTION_PROMPT", "'ADAPTION_PROMPT'. This type can't be served as a static prefix: it is gated inside each layer."),
            ("prompt_tuning", "'prompt_tuning'"),
            (None, "None"),
            ([], "[]"),
        )
    ),
    *(
        Case(f"task type {value}", config(task_type=value), UnsupportedSoftPromptError, CONFIG, "task_type", "CAUSAL_LM", repr(value))
        for value in ("SEQ_2_SEQ_LM", "TOKEN_CLS", None, 1)
    ),
    Case(
        "an encoder-decoder prompt",
        config(num_transformer_submodules=2),
        UnsupportedSoftPromptError,
        CONFIG,
        "num_transformer_submodules",
        "a decoder only",
        "2",
    ),
    Case("trained modules", config(modules_to_save=["lm_head"]), UnsupportedSoftPromptError, CONFIG, "modules_to_save", "none", "lm_head"),
    # Path tricks
    *(
        Case(
            f"initial state {path!r}",
            config(prompt_tuning_init_state_dict_path=path),
            UnsafeFileError,
            CONFIG,
            "prompt_tuning_init_state_dict_path",
            "null, or a plain path inside the folder",
            repr(path)[:20],
            "MULTITASK_PROMPT_TUNING",
            0,
        )
        for path in ("../x", "a/../../x", "/etc/passwd", "~/x", "C:\\x", "\\\\host\\x", "..\\x", "file:///x", "a\0b", "", 7, [[]])
    ),
    *(
        Case(f"{name} {path!r}", config(**{name: path}), InvalidSoftPromptError, CONFIG, name, "a name or path without '..'", repr(path))
        for name in ("base_model_name_or_path", "revision", "tokenizer_name_or_path")
        for path in ("../../x", "a\0b", "..\\x")
    ),
    Case(
        "a link out",
        instead(TENSORS, lambda path: path.symlink_to("/etc/passwd")),
        UnsafeFileError,
        TENSORS,
        "path",
        "a file inside the folder",
        "a link that leaves it",
    ),
    Case(
        "a link up",
        instead(CONFIG, lambda path: path.symlink_to("../../../../../../../../etc/passwd")),
        UnsafeFileError,
        CONFIG,
        "path",
        "a file inside the folder",
        "a link that leaves it",
    ),
    # JSON
    Case("a byte-order mark", written(CONFIG, codecs.BOM_UTF8 + b"{}"), InvalidSoftPromptError, CONFIG, "content", "valid JSON", "BOM"),
    Case("UTF-16", written(CONFIG, "{}".encode("utf-16")), InvalidSoftPromptError, CONFIG, "content", "valid JSON", "utf-8"),
    Case("a list", written(CONFIG, b"[]"), InvalidSoftPromptError, CONFIG, "content", "a JSON object", "list"),
    Case("NaN as JSON", written(CONFIG, b'{"a": NaN}'), InvalidSoftPromptError, CONFIG, "content", "valid JSON", "NaN is not JSON"),
    Case("deep nesting", written(CONFIG, b"[" * 100_000), InvalidSoftPromptError, CONFIG, "content", "valid JSON", "recursion"),
    Case("endless digits", written(CONFIG, b"9" * 100_000), InvalidSoftPromptError, CONFIG, "content", "valid JSON", "digit"),
    # Lists and tasks
    Case("a short list", config(cpt_mask=[1]), InvalidSoftPromptError, CONFIG, "cpt_mask", "num_virtual_tokens (5) entries", "1", "CPT"),
    Case("no task", lambda _: None, InvalidSoftPromptError, CONFIG, "task", "0 to 2", "None", "MULTITASK_PROMPT_TUNING"),
    Case("a task too far", lambda _: None, InvalidSoftPromptError, CONFIG, "task", "0 to 2", "3", "MULTITASK_PROMPT_TUNING", 3),
    Case("a task where none are", lambda _: None, InvalidSoftPromptError, CONFIG, "task", "none for CPT", "0", "CPT", 0),
    # The manifest
    Case("another version", manifest(format_version=2), InvalidSoftPromptError, MANIFEST, "format_version", "1", "2"),
    Case("no method", manifest(method=None), InvalidSoftPromptError, MANIFEST, "method", "a valid string", "None"),
    Case(
        "a bad fingerprint",
        manifest(base_model={"id": "x", "fingerprint": "x" * 64}),
        InvalidSoftPromptError,
        MANIFEST,
        "base_model.fingerprint",
        "String should match pattern",
        "'xxx",
    ),
    Case(
        "another checksum",
        manifest(tensors_sha256="0" * 64),
        InvalidSoftPromptError,
        TENSORS,
        "sha256",
        "0" * 64 + " (soft_prompt.json)",
        "",
    ),
    Case(
        "thousands of wrong facts",
        manifest(training={str(number): [] for number in range(50_000)}),
        InvalidSoftPromptError,
        MANIFEST,
        "training",
        "at most 1000 entries",
        "{",
    ),
]
