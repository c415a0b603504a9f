"""Measure both engines on the same work and write docs/which-engine.md: `python -m benchmarks.engines`."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.engines.page import write_page
from benchmarks.engines.server import vllm_server
from benchmarks.engines.work import NEW_TOKENS, TEXT_TOKENS, Measured, run
from benchmarks.environments import find_server_python
from benchmarks.machine import load, machine_facts
from benchmarks.material import make_material, make_texts
from benchmarks.process import ROOT, ContenderFailedError
from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.sources import find_model
from langchain_softprompt.prefix import export_cartridge
from langchain_softprompt.remote import VLLMEngine
from langchain_softprompt.settings import EngineLimits
from langchain_softprompt.soft_prompt import SoftPrompt

RESULTS = ROOT / "benchmarks" / "results" / "engines.json"
HERE, THERE = "in process", "vLLM"
_ROWS = 32


def main() -> None:
    """Measure, write, tell."""
    options = _options()
    if not options.page_only:
        try:
            python = find_server_python(options.vllm_python)
        except ContenderFailedError as error:
            print(f"vLLM is left out, and so is the page: {error}")
            return
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory(prefix="engines-") as work:
            results = asyncio.run(_measure(python, Path(work), options))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_page(json.loads(RESULTS.read_text(encoding="utf-8")))


async def _measure(python: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    machine = machine_facts()
    material = make_material(find_model("embedded").folder, work, soft_prompts=4)
    exact = FrozenModel.load(str(material.model), dtype="float32", device="cpu")
    rows = [SoftPrompt.load(folder) for folder in material.soft_prompts.values()]
    # Half of them as embeddings, half as keys and values: both ways in one batch.
    soft_prompts = [*rows[:2], *(export_cartridge(exact, one) for one in rows[2:])]
    exact.close()
    texts = make_texts(material.model, seed=1)
    model = FrozenModel.load(str(material.model), device="cpu", packed=True)
    runs: dict[str, dict[int, list[Measured]]] = {name: {count: [] for count in options.chats} for name in (HERE, THERE)}
    with (
        Engine(model, EngineLimits(max_rows=_ROWS)) as engine,
        vllm_server(python, material.model, soft_prompts, work, rows=_ROWS) as url,
        VLLMEngine(url) as client,
    ):
        chats = {
            HERE: ChatSoftPrompt(model=str(material.model), engine=engine, max_tokens=NEW_TOKENS),
            THERE: ChatSoftPrompt(model=str(material.model), engine=client, max_tokens=NEW_TOKENS),
        }
        for count in options.chats:  # compiled for batches of these sizes, vouched for, warm
            for chat in chats.values():
                await run(chat, soft_prompts, texts, count)
        for number in range(options.rounds):
            for count in options.chats:
                for name in (HERE, THERE) if number % 2 == 0 else (THERE, HERE):
                    measured = await run(chats[name], soft_prompts, texts, count)
                    runs[name][count].append(measured)
                    print(f"round {number + 1}, {count} chats, {name}: {measured}", flush=True)
    model.close()
    machine["load_after"] = load()
    return {
        "day": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": machine,
        "rounds": options.rounds,
        "text_tokens": TEXT_TOKENS,
        "new_tokens": NEW_TOKENS,
        "virtual_tokens": [one.num_virtual_tokens for one in soft_prompts],
        "weights": str(model.dtype).removeprefix("torch."),
        "vllm": "0.32.0, CPU build",
        "chats": [_summary(count, runs) for count in options.chats],
    }


def _summary(count: int, runs: dict[str, dict[int, list[Measured]]]) -> dict[str, Any]:
    here, there = runs[HERE][count], runs[THERE][count]
    pairs = list(zip(here, there, strict=True))
    return {
        "at_once": count,
        "tokens_a_second": {name: statistics.median(one.tokens_a_second for one in runs[name][count]) for name in runs},
        "first_token": {name: statistics.median(one.first_token for one in runs[name][count]) for name in runs},
        "tokens": {name: sorted({one.tokens for one in runs[name][count]}) for name in runs},
        "throughput_ratio": statistics.median(one.tokens_a_second / other.tokens_a_second for one, other in pairs),
        "first_token_ratio": statistics.median(one.first_token / other.first_token for one, other in pairs),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--vllm-python", type=Path, help="a Python with vLLM and this package; made where none is named")
    parser.add_argument("--chats", nargs="+", type=int, default=[1, 4, 16, 32], help="how many chats come at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page-only", action="store_true", help="write the page from the results there are")
    return parser.parse_args()


main()
