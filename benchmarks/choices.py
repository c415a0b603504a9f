"""One call with 77 labels against scoring 77 separate prompts: times in interleaved rounds, printed as JSON.

    python -m benchmarks.choices --rounds 9

On the embedded model with one thread, twice: a short question behind the shipped soft prompt `route`, and the same question in the hard
prompt on the bare model. Contenders:
    one call          `ChatSoftPrompt.with_choices`: the prompt once, the labels as a tree
    77 prompts        `Engine.score` 77 times, a label each, nothing remembered between them; the engine reads them together
    77 rows           prompt and label of all 77 in batches of 16, as training and evaluation score given answers; a text that rows
                      of one batch have in common is read once there
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from langchain_core.messages import BaseMessage

from benchmarks.measure import interleave, median_ratio
from langchain_softprompt import ChatSoftPrompt, Engine, EngineLimits, FrozenModel, SoftPrompt
from langchain_softprompt.data import Example
from langchain_softprompt.demo.comparison import PLAIN
from langchain_softprompt.demo.tasks import ROUTE
from langchain_softprompt.likelihood import score_completions
from langchain_softprompt.messages import render_labels, render_messages
from langchain_softprompt.prefix import compile_prefix

ONE, PROMPTS, ROWS = "one call", "77 prompts", "77 rows"
_BANKING77 = Path(__file__).parent / "data" / "banking77" / "train.jsonl"


def labels() -> list[str]:
    """The 77 intents."""
    return sorted({json.loads(line)["label"] for line in _BANKING77.read_text("utf-8").splitlines()})


def measure(dtype: str, rounds: int) -> dict[str, Any]:
    """Seconds a question, and how far the contenders' log-probabilities are apart."""
    torch.set_num_threads(1)
    model, soft_prompt = FrozenModel.load("embedded", dtype=dtype, device="cpu", packed=True), SoftPrompt.load(ROUTE.soft_prompt)
    found: dict[str, Any] = {"labels": len(labels()), "dtype": dtype, "threads": torch.get_num_threads(), "torch": torch.__version__}
    with Engine(model) as engine, Engine(model, EngineLimits(prefix_cache_bytes=0, max_rows=77)) as forgetful:
        for name, template, soft in (("soft prompt", PLAIN, soft_prompt), ("hard prompt", ROUTE.template(), None)):
            chats = iter([template.format_messages(text=row.text) for row in ROUTE.rows()])
            found[name] = _one(engine, forgetful, soft, chats, rounds)
    return found


def _one(engine: Engine, forgetful: Engine, soft: SoftPrompt | None, chats: Iterator[list[BaseMessage]], rounds: int) -> dict[str, Any]:
    model, intents = engine.model, labels()
    chain = ChatSoftPrompt(model="embedded", engine=engine, soft_prompt=soft).with_choices(intents)
    tokens = render_labels(model.tokenizer, intents, model.eos_token_ids)
    prefix = compile_prefix(model, soft) if soft is not None else None

    def ids(chat: list[BaseMessage]) -> list[int]:
        return render_messages(model.tokenizer, chat, drop_default_system=soft is not None and soft.drop_default_system)

    def one_call(chat: list[BaseMessage]) -> list[float]:
        return list(chain.invoke(chat).log_probs.values())

    def prompts(chat: list[BaseMessage]) -> list[float]:
        running = [forgetful.score(ids(chat), [label], soft_prompt=soft) for label in tokens]
        return [one.result().totals[0] for one in running]

    def rows(chat: list[BaseMessage]) -> list[float]:
        return [score.total for score in score_completions(model, prefix, [Example(tuple(ids(chat)), label) for label in tokens])]

    chat = next(chats)
    answers = [way(chat) for way in (one_call, prompts, rows)]

    def timed(way: Callable[[list[BaseMessage]], list[float]]) -> Callable[[], float]:
        def work() -> float:
            chat = next(chats)
            start = time.perf_counter()
            way(chat)
            return time.perf_counter() - start

        return work

    times = interleave({ONE: timed(one_call), PROMPTS: timed(prompts), ROWS: timed(rows)}, rounds, warm_up=1)
    return {
        "prompt_tokens": len(ids(chat)),
        "label_tokens": sum(map(len, tokens)),
        "seconds": times,
        "log_probs_apart": max(abs(a - b) for others in answers[1:] for a, b in zip(answers[0], others, strict=True)),
        "ratio_to_77_prompts": median_ratio(times[PROMPTS], times[ONE]),
        "ratio_to_77_rows": median_ratio(times[ROWS], times[ONE]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.dtype, arguments.rounds), indent=1))
