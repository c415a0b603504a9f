"""PrefixStore against a model of it: the set of all heads that are kept, each a plain sequence of tokens."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.prefix import PrefixStore
from langchain_softprompt.prefix.run import Run
from langchain_softprompt.prefix.store import SHORTEST_RUN
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.tiny import embedding_prompt
from tests.unit_tests.prefix.heads import POSITION, assert_found, assert_same, keep, name_of, new_store, soft_part, text_part

Text = tuple[int, ...]
Head = tuple[Hashable, Text]  # a soft prompt's name and the text after it; without text the soft prompt itself

_PROMPTS: tuple[tuple[SoftPrompt | None, bool], ...] = (
    (None, False),
    (embedding_prompt(2, 1), False),
    (embedding_prompt(2, 1), True),  # by opt-in, so apart
    (embedding_prompt(9, 2), False),
)


@dataclass(frozen=True)
class Use:
    """One call of the store."""

    keeps: bool
    soft_prompt: SoftPrompt | None
    opt_in: bool
    text: Text

    @property
    def name(self) -> Hashable:
        return name_of(self.soft_prompt, opt_in=self.opt_in)

    @property
    def virtual(self) -> int:
        return self.soft_prompt.num_virtual_tokens if self.soft_prompt is not None else 0

    def heads(self, tokens: int) -> set[Head]:
        """The soft prompt and all heads of the text up to a length."""
        return {(self.name, self.text[:length]) for length in range(tokens + 1)}


# Few digits in runs of some length: texts that share long heads, part anywhere, and go on.
_TEXTS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 24)), min_size=1, max_size=4).map(
    lambda runs: tuple(digit for digit, times in runs for _ in range(times))
)
_USES = st.lists(
    st.builds(lambda keeps, prompt, text: Use(keeps, *prompt, text), st.booleans(), st.sampled_from(_PROMPTS), _TEXTS),
    min_size=1,
    max_size=25,
)


def _kept(store: PrefixStore) -> set[Head]:
    """All heads in the store, after a look at every run: its place, its numbers, and the bytes of all of them."""
    heads: set[Head] = set()
    num_bytes = runs = 0
    names = {name_of(prompt, opt_in=opt_in): (prompt, opt_in) for prompt, opt_in in _PROMPTS}
    for name, (prompt, opt_in) in names.items():
        root = store._roots.get(store._name(prompt, allow_other_model=opt_in))
        if root is None:
            continue
        assert_same(root.prefix, soft_part(name, prompt.num_virtual_tokens if prompt else 0))
        todo: list[tuple[Run, Text]] = [(root, ())]
        while todo:
            run, before = todo.pop()
            runs += 1
            text = before + run.token_ids
            if run.token_ids:
                assert_same(run.prefix, text_part(name, text, len(before)))
            num_bytes += sum(tensor.untyped_storage().nbytes() for layer in run.prefix.layers for tensor in layer)
            heads |= {(name, text[:length]) for length in range(len(before), len(text) + 1)}
            for first, child in run.children.items():
                assert (child.parent, child.token_ids[0]) == (run, first)
                todo.append((child, text))
    assert (store.num_bytes, len(store)) == (num_bytes, runs)
    return heads


def _bytes(heads: set[Head]) -> int:
    virtual = {name_of(prompt, opt_in=opt_in): prompt.num_virtual_tokens if prompt else 0 for prompt, opt_in in _PROMPTS}
    return POSITION * sum(1 if text else virtual[name] for name, text in heads)


def _longest(heads: set[Head], name: Hashable, text: Text) -> int:
    return max((length for length in range(len(text) + 1) if (name, text[:length]) in heads), default=0)


@settings(deadline=None, max_examples=60)
@given(uses=_USES)
def test_with_room_for_all_the_longest_common_head_of_all_that_was_kept_is_found(uses: list[Use]) -> None:
    store = new_store(10**9)
    kept: dict[Hashable, set[Text]] = {}
    for use in uses:
        common = max((_common(use.text, text) for text in kept.get(use.name, ())), default=0)
        if use.keeps:
            keep(store, use.soft_prompt, use.text, opt_in=use.opt_in)
            texts = kept.setdefault(use.name, set())
            if len(use.text) - common >= SHORTEST_RUN:
                texts.add(use.text)
        else:
            found = store.find(use.soft_prompt, use.text, allow_other_model=use.opt_in)
            assert found.virtual_tokens == (use.virtual if use.name in kept else 0)
            assert found.text_tokens == min(common, len(use.text) - 1)
            assert_found(found, use.soft_prompt, use.text, opt_in=use.opt_in)
    assert _kept(store) == {
        (name, text[:length]) for name, texts in kept.items() for text in (*texts, ()) for length in range(len(text) + 1)
    }


@settings(deadline=None, max_examples=100)
@given(uses=_USES, budget=st.integers(0, 160))
def test_whatever_the_budget_bytes_are_kept_within_it_and_every_head_is_right(uses: list[Use], budget: int) -> None:
    """Eviction takes no more than it must, nothing without what it hangs on, and the recent never before the old."""
    store, max_bytes = new_store(budget * POSITION), budget * POSITION
    before: set[Head] = set()
    history: list[tuple[set[Head], set[Head]]] = []
    for use in uses:
        known = _longest(before, use.name, use.text)
        if use.keeps:
            keep(store, use.soft_prompt, use.text, opt_in=use.opt_in)
            now, new = _kept(store), _added(use, before, max_bytes)
            assert new <= now <= before | new
            if _bytes(before | new) <= max_bytes:
                assert now == before | new
            used = len(use.text) if (use.name, use.text) in new else known
        else:
            found = store.find(use.soft_prompt, use.text, allow_other_model=use.opt_in)
            now = _kept(store)
            assert now == before
            known = used = min(known, len(use.text) - 1)
            assert (found.virtual_tokens, found.text_tokens) == ((use.virtual, known) if (use.name, ()) in before else (0, 0))
            assert_found(found, use.soft_prompt, use.text, opt_in=use.opt_in)
        assert store.num_bytes == _bytes(now) <= max_bytes
        history.append(((use.heads(used) & now), _touched(use, known, used, before | now)))
        _check_recency(history, now, max_bytes)
        before = now


def _added(use: Use, before: set[Head], max_bytes: int) -> set[Head]:
    """What a call adds: its whole chain must fit the budget, and a tail must be worth a run."""
    known, most = _longest(before, use.name, use.text), max_bytes // POSITION
    if use.virtual > most:
        return set()
    if len(use.text) - known < SHORTEST_RUN or use.virtual + len(use.text) > most:
        return use.heads(known)
    return use.heads(len(use.text))


def _touched(use: Use, known: int, used: int, heads: set[Head]) -> set[Head]:
    """What a use may have marked as recent: what it used, and the rest of a run that it shares in part."""
    if not known:
        return use.heads(used)
    rest = {(name, text) for name, text in heads if name == use.name and text[:known] == use.text[:known]}
    return use.heads(used) | rest


def _check_recency(history: Sequence[tuple[set[Head], set[Head]]], now: set[Head], max_bytes: int) -> None:
    """As long as all that was touched since a use fits the budget, nothing of that use may be gone."""
    recent: set[Head] = set()
    for used, touched in reversed(history):
        recent |= touched
        if _bytes(recent) > max_bytes:
            return
        assert used <= now


def _common(one: Text, other: Text) -> int:
    return next((place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), min(len(one), len(other)))
