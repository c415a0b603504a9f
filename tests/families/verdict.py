"""How a family is served: its answers held against transformers' own, or the error that refuses it."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PromptTuning
from tests.families.sizes import TEXT
from tests.families.tiny import WINDOW, random_model, tiny_config

NEW = 12

# Where transformers' `generate` is no measure, and why; what the model says in single passes, without a cache, is then.
OWN_GENERATE_DIFFERS = {
    "moshi": "its cache drops what lies behind the window, which its mask does not hide",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a family is served.

    Attributes:
        family: Its name in transformers, `model_type`.
        model: The class of its models.
        way: ``"slotted"``, ``"snapshot"``, ``"reread"`` or ``"refused"``.
        reason: Why not in a faster way; empty for the fastest.
    """

    family: str
    model: str
    way: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Ask:
    token_ids: list[int]
    soft_prompt: SoftPrompt | None = None


def judge(family: str, window: int = WINDOW) -> Verdict:
    """Build a tiny model of a family and hold what the engine says with it against transformers itself.

    Soft prompts of several lengths and none, texts shorter and longer than the windows; together and alone, on top of
    what was read before and afresh, in one pass and in chunks of three.

    Raises:
        AssertionError: An answer differs, or the choice was not logged as it should be. Whatever else comes out of the
            engine is not caught: a family is served exactly, or refused with `FrozenModelError`, and nothing between.
    """
    raw = random_model(tiny_config(family, window))
    name = type(raw).__name__
    with _log() as records:
        try:
            model = FrozenModel.wrap(raw, name=family)
        except FrozenModelError as error:
            named, _, reason = str(error).partition(" can't be served: ")
            return Verdict(family, named, "refused", _stable(reason))
    way = "slotted" if model.reuses_prefix else "snapshot" if model.snapshots_prefix else "reread"
    verdict = Verdict(family, name, way, _logged_reason(records, name, way))
    raw.generation_config, model.eos_token_ids = GenerationConfig(), ()  # Some end answers, or begin them, by force.
    asks = [_Ask(_text(length)) for length in (3, 30, 45)]
    asks += [_Ask(_text(length), _soft_prompt(model, virtual)) for length, virtual in ((28, 5), (7, 30), (40, 4))]
    expected = [transformers_answer(model, ask.token_ids, ask.soft_prompt) for ask in asks]
    assert len({tuple(answer) for answer in expected}) > 2, f"{family} says too much of the same to tell right from wrong"
    with Engine(model) as engine:
        _compare(verdict, "together", _together(engine, asks), expected)
        _compare(verdict, "alone, read before", _alone(engine, asks), expected)
    with Engine(model, EngineLimits(prefill_chunk=3, prefix_cache_bytes=0)) as engine:
        _compare(verdict, "together, in chunks", _together(engine, asks), expected)
        _compare(verdict, "alone, in chunks", _alone(engine, asks), expected)
    return verdict


@torch.inference_mode()
def transformers_answer(model: FrozenModel, token_ids: Sequence[int], soft_prompt: SoftPrompt | None = None, new: int = NEW) -> list[int]:
    """What transformers itself says, greedily: `generate`, the rows of a soft prompt as the first of its `inputs_embeds`.

    Single passes without a cache where a family's `generate` takes no embeddings, or is no measure.
    """
    rows = soft_prompt.embedding_rows() if soft_prompt is not None else None
    ids = torch.tensor([list(token_ids)])
    takes_embeds = "inputs_embeds" in inspect.signature(model.model.prepare_inputs_for_generation).parameters
    if model.name in OWN_GENERATE_DIFFERS or (rows is not None and not takes_embeds):
        return _single_passes(model, ids, rows, new)
    asked = {"input_ids": ids} if rows is None else {"inputs_embeds": torch.cat([rows[None], model.embed(ids)], dim=1)}
    length = ids.shape[1] if rows is None else ids.shape[1] + rows.shape[0]
    seen = torch.ones(1, length, dtype=torch.long)
    said = model.model.generate(**asked, attention_mask=seen, max_new_tokens=new, do_sample=False, pad_token_id=0)[0].tolist()
    return said[ids.shape[1] :] if rows is None else said


def _single_passes(model: FrozenModel, ids: torch.Tensor, rows: torch.Tensor | None, new: int) -> list[int]:
    said: list[int] = []
    for _ in range(new):
        read = torch.cat([ids, torch.tensor([said], dtype=torch.long)], dim=1)
        asked = {"input_ids": read} if rows is None else {"inputs_embeds": torch.cat([rows[None], model.embed(read)], dim=1)}
        said.append(int(model.model(**asked, use_cache=False).logits[0, -1].argmax()))
    return said


def _text(length: int) -> list[int]:
    return torch.randint(0, TEXT, (length,), generator=torch.Generator().manual_seed(length)).tolist()


def _soft_prompt(model: FrozenModel, length: int) -> SoftPrompt:
    spread = float(model.model.get_input_embeddings().weight.std())
    rows = 3 * spread * torch.randn(length, model.hidden_size, generator=torch.Generator().manual_seed(length))
    config = PromptTuning(peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=length, token_dim=model.hidden_size)
    return SoftPrompt(config, {"prompt_embeddings": rows})


def _together(engine: Engine, asks: Sequence[_Ask]) -> list[list[int]]:
    settings = GenerationSettings(max_new_tokens=NEW)
    running = [engine.submit(ask.token_ids, soft_prompt=ask.soft_prompt, settings=settings) for ask in asks]
    return [list(generation.result().token_ids) for generation in running]


def _alone(engine: Engine, asks: Sequence[_Ask]) -> list[list[int]]:
    return [answer for ask in asks for answer in _together(engine, [ask])]


def _compare(verdict: Verdict, how: str, found: Sequence[list[int]], expected: Sequence[list[int]]) -> None:
    wrong = [number for number, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
    assert not wrong, (
        f"{verdict.family}, {verdict.way}, {how}: requests {wrong} differ, the first: {found[wrong[0]]}, not {expected[wrong[0]]}"
    )


@contextmanager
def _log() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("langchain_softprompt.frozen_model.self_test")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _logged_reason(records: Sequence[logging.LogRecord], model: str, way: str) -> str:
    """The one line that was logged says which model, which way, and, as a warning, why not a faster one."""
    (record,) = records
    message = record.getMessage()
    assert model in message, message
    if way == "slotted":
        assert record.levelno < logging.WARNING, message
        assert "rows decode together" in message
        return ""
    assert record.levelno == logging.WARNING, message
    assert {"snapshot": "state is copied and continued", "reread": "are read again"}[way] in message, message
    tried = re.search(r"one by one \((.*)\)\.$", message, re.DOTALL)
    assert tried, message
    return _stable(tried.group(1))


def _stable(reason: str) -> str:
    """The reason without what differs between machines, in one line, short."""
    reason = re.sub(r"difference [\d.e+-]+, allowed [\d.e+-]+", "other logits", reason.partition(". Choose")[0])
    reason = " ".join(reason.replace("|", "/").split())
    carried = "its cache does not carry what was read before"
    return carried if reason.startswith(carried) else reason[:200]
