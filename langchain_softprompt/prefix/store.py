"""PrefixStore: compiled soft prompts and the text after them, kept within a byte budget, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.prefix.run import Run
from langchain_softprompt.soft_prompt import SoftPrompt

# Shorter tails are read again: a run costs a look-up for each layer, and most questions come once.
SHORTEST_RUN = 16

SoftName = tuple[str, str, bool]
_BARE: SoftName = ("", "", False)


@dataclass(frozen=True, slots=True)
class FoundHead:
    """What of a prompt is there already.

    Attributes:
        parts: Compiled parts to start from, in order.
        virtual_tokens: How many of their positions are the soft prompt's.
        text_tokens: How many are text.
    """

    parts: tuple[KVPrefix, ...] = ()
    virtual_tokens: int = 0
    text_tokens: int = 0


class PrefixStore:
    """What one frozen model has read before: a tree of text under each soft prompt, and one under none.

    Trees are keyed by the model's fingerprint, the soft prompt's content hash and the model it says it was made for, runs
    of text by their token ids, so no two prompts that differ anywhere share what stands after the difference. What is
    larger than the whole budget is not kept. Not thread-safe: the engine's thread owns it.

    Args:
        model: The frozen model all entries belong to.
        max_bytes: Most memory to keep.
    """

    def __init__(self, model: FrozenModel, max_bytes: int) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self._roots: dict[Hashable, Run] = {}
        # Least recently used first. A run is always more recent than those that follow it, so the first has none.
        self._runs: OrderedDict[Run, None] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory the kept prefixes take."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._runs)

    def find(self, soft_prompt: SoftPrompt | None, token_ids: Sequence[int], *, allow_other_model: bool = False) -> FoundHead:
        """The longest head of a prompt that is there.

        Args:
            soft_prompt: What stands first; ``None`` for the bare model.
            token_ids: The text; one token at least is always left to read.
            allow_other_model: Part of the key: what was let in by opt-in opens no door for a request without it.
        """
        root = self._roots.get(self._name(soft_prompt, allow_other_model=allow_other_model))
        if root is None:
            return FoundHead()
        way, matched = root.follow(token_ids[: len(token_ids) - 1])
        self._touch(way[-1][0] if way else root)
        parts = [root.prefix] if root.prefix.compiled else []
        parts += [run.prefix.cut(0, agreeing, copy=False) for run, agreeing in way]
        return FoundHead(tuple(parts), root.prefix.length, matched)

    def keep(
        self,
        soft_prompt: SoftPrompt | None,
        token_ids: Sequence[int],
        *,
        soft: KVPrefix | None,
        text: Callable[[int, int], KVPrefix] | None,
        allow_other_model: bool = False,
    ) -> None:
        """Keep what was read, as far as it is new.

        Args:
            soft_prompt: What stood first.
            token_ids: The text after it.
            soft: The compiled soft prompt; without it nothing is kept of a soft prompt that is not there (any more).
            text: Gives the keys and values of the text from one token to another, to be copied; ``None`` when the
                model's cache can't be cut.
            allow_other_model: As in `find`.
        """
        name = self._name(soft_prompt, allow_other_model=allow_other_model)
        root = self._roots.get(name)
        if root is None:
            if soft is None and soft_prompt is not None:
                return
            root = self._add(Run((), soft or KVPrefix(0), name=name))
            if root is None:
                return
        if text is None:
            self._touch(root)
            return
        way, matched = root.follow(token_ids)
        last, agreeing = way[-1] if way else (root, 0)
        if len(token_ids) - matched >= SHORTEST_RUN:
            if way and agreeing < len(last.token_ids):
                last = self._split(last, agreeing)
            added = self._add(Run(tuple(token_ids[matched:]), text(matched, len(token_ids)).copied(), last))
            last = added or last
        if last in self._runs:
            self._touch(last)

    def _touch(self, run: Run) -> None:
        """Mark as just used; ancestors after their descendants, so that they go later."""
        for one in run.ancestry():
            self._runs.move_to_end(one)

    def _add(self, run: Run) -> Run | None:
        size, chain = run.prefix.num_bytes, list(run.ancestry())[1:]
        if size + sum(one.prefix.num_bytes for one in chain) > self._max_bytes:
            return None
        for one in chain:  # What it hangs on must not be pushed out to make room for it.
            self._runs.move_to_end(one)
        while self._num_bytes + size > self._max_bytes:
            self._drop_oldest(keeping=chain)
        if run.parent is None:
            self._roots[run.name] = run
        else:
            run.parent.children[run.token_ids[0]] = run
        self._runs[run] = None
        self._num_bytes += size
        self._touch(run)
        return run

    def _split(self, run: Run, at: int) -> Run:
        upper = run.split(at)
        self._runs[upper] = None
        self._touch(run)
        return upper

    def _drop_oldest(self, keeping: Sequence[Run]) -> None:
        """Let the least recently used run go; runs that something is about to be hung on stay as they are."""
        run, _ = self._runs.popitem(last=False)
        self._num_bytes -= run.prefix.num_bytes
        if run.parent is None:
            del self._roots[run.name]
            return
        del run.parent.children[run.token_ids[0]]
        joined = run.parent.join_only_child() if run.parent not in keeping else None
        if joined is not None:
            del self._runs[joined]

    def _name(self, soft_prompt: SoftPrompt | None, *, allow_other_model: bool) -> Hashable:
        return self._model.fingerprint, soft_name(soft_prompt, allow_other_model=allow_other_model)


def soft_name(soft_prompt: SoftPrompt | None, *, allow_other_model: bool) -> SoftName:
    """What tells the trees of text apart: a soft prompt's content, the model it says it was made for, and the opt-in."""
    if soft_prompt is None:
        return _BARE
    made_for = soft_prompt.manifest.base_model.fingerprint if soft_prompt.manifest else ""
    return soft_prompt.content_hash, made_for, allow_other_model


__all__ = ["SHORTEST_RUN", "FoundHead", "PrefixStore", "SoftName", "soft_name"]
