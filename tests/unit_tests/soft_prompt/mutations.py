"""Soft-prompt folders with something wrong in them, drawn by hypothesis from valid ones that PEFT made."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from langchain_softprompt.hub import SOFT_PROMPT_FILES
from tests.unit_tests.soft_prompt.peft_folders import TASKS, frozen, save_with_peft

CONFIG, TENSORS, MANIFEST = SOFT_PROMPT_FILES
SIX_TYPES = ("PROMPT_TUNING", "P_TUNING-MLP", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "CARTRIDGE")

# The folder is drawn as base/prompt; base/outside holds a valid soft prompt that must never be read.
PATHS = (
    f"../outside/{TENSORS}",
    "../outside",
    f"..\\outside\\{TENSORS}",
    f"x/../../outside/{TENSORS}",
    "/etc/passwd",
    "~/.netrc",
    "~nobody/x",
    "file:///etc/passwd",
    "C:\\secret",
    "\\\\host\\share",
    "nul\0byte",
    "org/name",
    "/dev/zero",
    "./" * 500,
)
_TEXTS = ("", "\ud800", "\u202eturned", "\x1b[2J", "🙂" * 40, "A" * 50_000, "NaN", "LORA", "TEXT", "SEQ_2_SEQ_LM", "PREFIX_TUNING", *PATHS)
_INTEGERS = (0, -1, 1, 2, 3, 4, 5, 6, 16, 31, 32, 33, 64, 16_384, 16_385, 1 << 20, 1 << 31, 1 << 63, 1 << 64, 10**30, -(10**30))
_FLOATS = (0.0, -0.0, 1.0, 5.0, 0.5, 1e308, -1e308, 1e-320, float("inf"), float("-inf"), float("nan"))
# Written as text, since Python itself can't: numbers too long, nesting too deep.
_RAW = {f"@{name}@": text for name, text in {"1e999": "1e999", "digits": "9" * 5000}.items()}
_RAW |= {f"@deep{depth}@": "[" * depth + "]" * depth for depth in (60, 300, 900, 5000)}
_RAW |= {f"@deepobject{depth}@": '{"a":' * depth + "1" + "}" * depth for depth in (60, 450, 5000)}

_scalars = st.one_of(
    st.none(), st.booleans(), st.sampled_from(_INTEGERS), st.sampled_from(_FLOATS), st.sampled_from(_TEXTS), st.sampled_from(sorted(_RAW))
)
_json = st.one_of(_scalars, st.lists(_scalars, max_size=6), st.dictionaries(st.sampled_from(("a", "", "\x07", "id")), _scalars, max_size=3))
ODD_ENTRIES = ("missing", "directory", "fifo", "link to process", "link out", "link to device", "link loop", "dangling link", "link inside")
_DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn)
_HEADER_DTYPES = ("F64", "F16", "BF16", "I64", "U8", "BOOL", "C64", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "X", "")
_VALUES = (float("nan"), float("inf"), -float("inf"), 1e30, -3.4e38, 7e4, 1e5, 1e-44, 0.0)


@dataclass
class Drawn:
    """One folder to write: the content of its files, or the name of the odd thing in a file's place."""

    kind: str
    files: dict[str, bytes | str]
    task: Any = None
    also: dict[str, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        folder.mkdir()
        for name, content in {**self.files, **self.also}.items():
            if isinstance(content, bytes):
                (folder / name).write_bytes(content)
            else:
                _put(content, folder / name)


def _put(odd: str, path: Path) -> None:
    outside = path.parent.parent / "outside" / path.name
    targets = {
        "link out": outside,
        "link to device": Path("/dev/zero"),
        "link loop": path,
        "dangling link": path.parent / "nowhere",
        "link to process": Path("/proc/self/mem"),
    }
    if odd == "directory":
        path.mkdir()
    elif odd == "fifo":
        os.mkfifo(path)
    elif odd == "link inside":
        (path.parent / "real").mkdir(exist_ok=True)
        (path.parent / "real" / path.name).write_bytes(outside.read_bytes())
        path.symlink_to(Path("real") / path.name)
    elif odd in targets:
        path.symlink_to(targets[odd])


@cache
def valid(kind: str) -> dict[str, bytes]:
    """The files of a valid folder."""
    with tempfile.TemporaryDirectory() as folder:
        save_with_peft(Path(folder), kind, frozen("llama"))
        files = {name: (Path(folder) / name).read_bytes() for name in (CONFIG, TENSORS)}
    manifest = {
        "format_version": 1,
        "description": "d",
        "base_model": {"id": "tiny-llama", "revision": None, "fingerprint": frozen("llama").fingerprint},
        "method": "m",
        "hard_prompt": [{"role": "system", "template": "t"}],
        "input_messages": [],
        "drop_default_system": False,
        "tasks": [f"t{number}" for number in range(TASKS)],
        "training": {"steps": 1, "note": None},
        "seeds": [1],
        "data": {"digest": "a" * 64, "rows": 1, "validation_rows": 1, "source": "", "licence": ""},
        "scores": {"exact": 0.5},
        "created": "",
        "package_version": "",
        "tensors_sha256": None,
    }
    return {**files, MANIFEST: json.dumps(manifest).encode()}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*path, key) for key, _ in inner] + [place for key, item in inner for place in _places(item, (*path, key))]


def _json_edit(draw: st.DrawFn, content: bytes) -> bytes:
    document = json.loads(content)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        holder = document
        for key in way:
            holder = holder[key]
        action = draw(st.sampled_from(("replace", "replace", "replace", "delete", "add")))
        if action == "replace":
            holder[last] = draw(_json)
        elif action == "delete":
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(("x", "", "modules_to_save", "auto_mapping", "runtime_config", "\ud800")))] = draw(_json)
    text = json.dumps(document)
    for mark, raw in _RAW.items():
        text = text.replace(f'"{mark}"', raw)
    return text.encode()


def _text_damage(draw: st.DrawFn, content: bytes) -> bytes:
    text = content.decode()
    whole: list[Callable[[], bytes]] = [
        lambda: b"\xef\xbb\xbf" + content,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-32-le"),
        lambda: b"\xff\xfe" + content,
        lambda: content[: draw(st.integers(0, len(content)))],
        lambda: b"",
        lambda: draw(st.sampled_from((b"[]", b"null", b"1", b'"x"', b"{}", b"NaN", b"{" * 5000, b"[" * 100_000, b"\0" * 64))),
        lambda: content.replace(b"{", b'{"num_virtual_tokens": 4, "peft_type": "LORA",', 1),
        lambda: b" " * ((4 << 20) + 1),
        lambda: _flip(draw, content),
    ]
    return draw(st.sampled_from(whole))()


def _flip(draw: st.DrawFn, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4)) if changed else 0):
        at = draw(st.one_of(st.integers(0, len(changed) - 1), st.integers(0, min(150, len(changed) - 1))))
        changed[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _binary_damage(draw: st.DrawFn, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    lies = (0, 1, 7, length - 1, length + 1, len(content), len(content) - 8, 100_000_001, (1 << 63) - 1, (1 << 64) - 1)
    whole: list[Callable[[], bytes]] = [
        lambda: content[: draw(st.integers(0, len(content)))],
        lambda: content + b"\0" * draw(st.integers(1, 9)),
        lambda: draw(st.sampled_from(lies)).to_bytes(8, "little") + content[8:],
        lambda: b"",
        lambda: b"PK\x03\x04" + content,
        lambda: _flip(draw, content),
        lambda: _header_edit(draw, content, length),
        lambda: _header_edit(draw, content, length),
    ]
    return draw(st.sampled_from(whole))()


def _header_edit(draw: st.DrawFn, content: bytes, length: int) -> bytes:
    header = json.loads(content[8 : 8 + length])
    entry = header[draw(st.sampled_from(sorted(name for name in header if name != "__metadata__")))]
    sizes = st.lists(st.sampled_from((0, 1, 4, 5, 32, 160, 1 << 32, (1 << 64) - 1, -1)), max_size=4)
    part = draw(st.sampled_from(("dtype", "shape", "data_offsets", "any", "metadata")))
    if part == "metadata":
        header["__metadata__"] = draw(_json)
    else:
        values = {"dtype": st.sampled_from(_HEADER_DTYPES), "shape": sizes, "data_offsets": sizes, "any": _json}
        entry["dtype" if part == "any" else part] = draw(values[part])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _tensor_edit(draw: st.DrawFn, content: bytes) -> bytes:
    tensors = load_tensors(content)
    name = draw(st.sampled_from(sorted(tensors)))
    tensor = tensors[name]
    shapes: dict[str, Callable[[], Tensor]] = {
        "dtype": lambda: tensor.to(draw(st.sampled_from(_DTYPES))),
        "flat": tensor.flatten,
        "deeper": lambda: tensor[None],
        "turned": lambda: tensor.transpose(-1, -2),
        "fewer rows": lambda: tensor[: draw(st.integers(0, 3))],
        "fewer columns": lambda: tensor[..., : draw(st.integers(0, 31))],
        "twice": lambda: torch.cat([tensor, tensor], dim=-1),
        "scalar": lambda: tensor.flatten()[0],
        "poison": lambda: _poison(draw, tensor),
        "scaled": lambda: tensor * draw(st.sampled_from((1e3, 1e10, 1e25, 1e37, -1e37, 0.0))),
    }
    action = draw(st.sampled_from((*shapes, "poison", "poison", "scaled", "drop", "rename", "extra")))
    if action in shapes:
        tensors[name] = shapes[action]().contiguous()
    elif action == "extra":
        tensors[draw(st.sampled_from(("x", "base_model.lm_head.weight", "", "\x1b[2J", "é" * 300)))] = torch.zeros(2)
    else:
        moved = tensors.pop(name)
        if action == "rename":
            tensors[draw(st.sampled_from(("base_model.prompt_embeddings", "prompt_embeddings.weight", "")))] = moved
    return save_tensors(tensors)


def _poison(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    flat = tensor.flatten().clone()
    flat[draw(st.integers(0, flat.numel() - 1))] = draw(st.sampled_from(_VALUES))
    return flat.view(tensor.shape)


@st.composite
def folders(draw: st.DrawFn) -> Drawn:
    """A valid folder with one or two of its files changed."""
    kind = draw(st.sampled_from(SIX_TYPES))
    files: dict[str, bytes | str] = dict(valid(kind))
    if draw(st.booleans()):
        del files[MANIFEST]
    drawn = Drawn(kind, files)
    if kind.startswith("MULTITASK"):
        drawn.task = draw(st.sampled_from((0, 1, TASKS - 1, "t1", *(0, 1, 2), TASKS, -1, True, None, 1.0, "x", 10**30)))
    elif draw(st.integers(0, 30)) == 0:
        drawn.task = 0
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from([CONFIG, CONFIG, TENSORS, TENSORS, *([MANIFEST] if MANIFEST in files else [])]))
        content = files[name]
        edits = (_binary_damage, _tensor_edit, _tensor_edit) if name == TENSORS else (_json_edit, _json_edit, _text_damage)
        edit = draw(st.sampled_from((*edits, *edits, _odd)))
        if edit is _odd or not isinstance(content, bytes):
            files[name] = _odd(draw, drawn)
        elif content == valid(kind)[name]:
            files[name] = edit(draw, content)
        drawn.steps.append(f"{name}: {edit.__name__}")
    return drawn


def _odd(draw: st.DrawFn, drawn: Drawn) -> str:
    if draw(st.booleans()):
        drawn.also[draw(st.sampled_from(("adapter_model.bin", "decoder.pt", "pytorch_model.bin", "modeling.py")))] = b"\x80\x04."
    return draw(st.sampled_from(ODD_ENTRIES))
