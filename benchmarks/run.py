"""Mixed soft prompts in one batch against PEFT, on the embedded model: one thread, interleaved, medians, ratios of one run.

PEFT has one active soft prompt at a time, so it switches and generates one request after another (its left-padded
batches put the positions of embedding-type prompts wrongly, and no batch can mix soft prompts).

    python benchmarks/run.py [--rows 8] [--new-tokens 24] [--rounds 3] [--output benchmarks/results.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM

from langchain_softprompt import Engine, EngineLimits, FrozenModel, GenerationSettings, SoftPrompt
from langchain_softprompt.demo.tasks import TASKS
from langchain_softprompt.frozen_model import render_chat


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    frozen = FrozenModel.load("embedded")
    requests = _requests(frozen, options.rows)
    settings = GenerationSettings(max_new_tokens=options.new_tokens)
    peft_model = _peft_model(frozen)
    with Engine(frozen, EngineLimits(max_rows=options.rows)) as engine:
        prompts = {task.name: SoftPrompt.load(task.soft_prompt) for task in TASKS}

        def ours(rows: int) -> int:
            running = [engine.submit(ids, soft_prompt=prompts[name], settings=settings) for name, ids in requests[:rows]]
            return sum(len(one.result().token_ids) for one in running)

        def one_soft_prompt() -> int:
            running = [engine.submit(ids, soft_prompt=prompts[requests[0][0]], settings=settings) for _, ids in requests]
            return sum(len(one.result().token_ids) for one in running)

        contenders: dict[str, Callable[[], int]] = {
            "PEFT set_adapter + generate, one by one": lambda: _peft(peft_model, requests, frozen, options.new_tokens),
            f"Engine, {options.rows} rows, mixed soft prompts": lambda: ours(options.rows),
            f"Engine, {options.rows} rows, one soft prompt": one_soft_prompt,
            "Engine, one row": lambda: ours(1),
        }
        speeds = _measure(contenders, options.rounds)
    _report(speeds, frozen, options)


def _measure(contenders: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Tokens a second: the median over rounds, in each of which every contender has its turn."""
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()  # warm: soft prompts compiled, caches allocated
    for _ in range(rounds):
        for name, work in contenders.items():
            start = time.perf_counter()
            tokens = work()
            seen[name].append(tokens / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in seen.items()}


def _requests(frozen: FrozenModel, rows: int) -> list[tuple[str, list[int]]]:
    requests = []
    for number in range(rows):
        task = TASKS[number % len(TASKS)]
        text = task.rows()[number].text
        requests.append((task.name, render_chat(frozen.tokenizer, [{"role": "user", "content": text}], drop_default_system=True)))
    return requests


def _peft_model(frozen: FrozenModel) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(frozen.folder, dtype=frozen.dtype).to(frozen.device)
    first, *others = TASKS
    model = PeftModel.from_pretrained(base, str(first.soft_prompt), adapter_name=first.name)
    for task in others:
        model.load_adapter(str(task.soft_prompt), adapter_name=task.name)
    return model.eval()


@torch.inference_mode()
def _peft(model: PeftModel, requests: list[tuple[str, list[int]]], frozen: FrozenModel, new_tokens: int) -> int:
    tokens = 0
    for name, ids in requests:
        model.set_adapter(name)
        text = torch.tensor([ids], device=frozen.device)
        answer = model.generate(
            input_ids=text,
            attention_mask=torch.ones_like(text),
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=frozen.eos_token_ids[0],
        )
        new = answer[0, len(ids) :].tolist()
        tokens += len([token for token in new if token not in frozen.eos_token_ids])
    return tokens


def _report(speeds: dict[str, float], frozen: FrozenModel, options: argparse.Namespace) -> None:
    base = next(iter(speeds.values()))
    table = Table(title=f"{frozen!r}, one thread, {options.rows} requests over {len(TASKS)} soft prompts, median of {options.rounds}")
    table.add_column("")
    table.add_column("answer tokens a second", justify="right")
    table.add_column("against PEFT", justify="right")
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:.1f}", f"{speed / base:.2f}x")
    Console().print(table)
    if options.output:
        facts = {
            "rows": options.rows,
            "new_tokens": options.new_tokens,
            "rounds": options.rounds,
            "dtype": str(frozen.dtype),
            "tokens_per_second": speeds,
        }
        Path(options.output).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", default="")
    return parser.parse_args()


if __name__ == "__main__":
    main()
