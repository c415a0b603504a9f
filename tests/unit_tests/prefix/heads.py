"""Made-up keys and values that tell which soft prompt and which whole text stands before each position."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Sequence

import torch

from langchain_softprompt.prefix import FoundHead, KVPrefix, PrefixStore
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.soft_prompt.peft_folders import frozen

LAYERS, HEADS, DIM = 2, 2, 3
POSITION = LAYERS * 2 * HEADS * DIM * 4  # bytes, in float32


def new_store(max_bytes: int) -> PrefixStore:
    return PrefixStore(frozen("llama"), max_bytes)


def soft_part(name: Hashable, length: int) -> KVPrefix:
    return _part([("soft", name, place) for place in range(length)])


def text_part(name: Hashable, token_ids: Sequence[int], start: int = 0, end: int | None = None) -> KVPrefix:
    """The text from one token to another; each position's numbers come from all that stands before it."""
    return _part([("text", name, tuple(token_ids[: place + 1])) for place in range(start, len(token_ids) if end is None else end)])


def reading(name: Hashable, token_ids: Sequence[int]) -> Callable[[int, int], KVPrefix]:
    """What the engine hands to the store: views of larger buffers."""
    whole = text_part(name, token_ids)
    return lambda start, end: whole.cut(start, end, copy=False)


def keep(store: PrefixStore, soft_prompt: SoftPrompt | None, token_ids: Sequence[int] = (), *, opt_in: bool = False) -> None:
    """Keep a soft prompt with a text after it."""
    name = name_of(soft_prompt, opt_in=opt_in)
    soft = None if soft_prompt is None else soft_part(name, soft_prompt.num_virtual_tokens)
    store.keep(soft_prompt, token_ids, soft=soft, text=reading(name, token_ids), allow_other_model=opt_in)


def name_of(soft_prompt: SoftPrompt | None, *, opt_in: bool = False) -> Hashable:
    if soft_prompt is None:
        return None
    return soft_prompt.content_hash, soft_prompt.manifest and soft_prompt.manifest.base_model.fingerprint, opt_in


def joined(parts: Sequence[KVPrefix]) -> KVPrefix:
    """Parts one after the other."""
    layers = zip(*(part.layers for part in parts), strict=True)
    together = tuple((torch.cat([keys for keys, _ in layer], 1), torch.cat([values for _, values in layer], 1)) for layer in layers)
    return KVPrefix(sum(part.length for part in parts), together)


def assert_same(found: KVPrefix, expected: KVPrefix) -> None:
    """Bit for bit."""
    assert found.length == expected.length
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def assert_found(found: FoundHead, soft_prompt: SoftPrompt | None, token_ids: Sequence[int], *, opt_in: bool = False) -> None:
    """The head is that of this soft prompt and this text, as long as it says it is."""
    name = name_of(soft_prompt, opt_in=opt_in)
    soft = [soft_part(name, found.virtual_tokens)] if found.virtual_tokens else []
    text = [text_part(name, token_ids, 0, found.text_tokens)] if found.text_tokens else []
    if soft or text:
        assert_same(joined(found.parts), joined(soft + text))


def _part(positions: Sequence[Hashable]) -> KVPrefix:
    if not positions:
        return KVPrefix(0)
    numbers = torch.tensor([zlib.crc32(repr(position).encode()) % 2**20 for position in positions], dtype=torch.float32)
    grid = numbers[:, None] + torch.arange(HEADS * DIM) / 8  # exact in float32
    keys = grid.reshape(-1, HEADS, DIM).transpose(0, 1)
    return KVPrefix(len(positions), tuple((keys + layer, -keys - layer) for layer in range(LAYERS)))
