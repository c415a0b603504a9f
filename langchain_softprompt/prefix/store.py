"""PrefixStore: compiled soft prompts, kept within a byte budget, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix.compiling import compile_prefix
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.soft_prompt import SoftPrompt


class PrefixStore:
    """Compiled soft prompts of one frozen model.

    Entries are keyed by the soft prompt's content hash, so two soft prompts never share one. A prefix that is larger
    than the whole budget is handed out and not kept. Not thread-safe: the engine's thread owns it.

    Args:
        model: The frozen model all entries are compiled for.
        max_bytes: Most memory to keep.
    """

    def __init__(self, model: FrozenModel, max_bytes: int) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, bool], KVPrefix] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory the kept prefixes take."""
        return sum(prefix.num_bytes for prefix in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, soft_prompt: SoftPrompt, *, allow_other_model: bool = False) -> tuple[KVPrefix, bool]:
        """Return the compiled prefix, and whether it was already there.

        Raises:
            ModelMismatchError: See `compile_prefix`.
            NonFiniteSoftPromptError: See `compile_prefix`; such a prefix is never kept.
        """
        # A prefix let in by opt-in must not open the door for a request without it.
        fingerprint = soft_prompt.manifest.base_model.fingerprint if soft_prompt.manifest else ""
        key = (soft_prompt.content_hash + fingerprint, allow_other_model)
        prefix = self._kept.pop(key, None)
        found = prefix is not None
        if prefix is None:
            prefix = compile_prefix(self._model, soft_prompt, allow_other_model=allow_other_model)
        if prefix.num_bytes > self._max_bytes:  # keeping it would only push out all others
            return prefix, found
        self._kept[key] = prefix
        total = self.num_bytes
        while total > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            total -= dropped.num_bytes
        return prefix, found
