"""``python -m langchain_softprompt.demo``: the main job, measured while it runs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.text import Text

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.demo import screen
from langchain_softprompt.demo.chain import frozen_models_in_memory, hard_chain, soft_chain, spoken_questions
from langchain_softprompt.demo.comparison import Arm, compare, is_right
from langchain_softprompt.demo.tasks import TASKS
from langchain_softprompt.errors import SoftPromptError


def main() -> None:
    """Run the demo; every number on the screen is measured in this run."""
    options = _options()
    console = Console(stderr=options.json)
    try:
        facts = _run(options, console)
    except SoftPromptError as error:
        console.print(Text(f"Error: {error}", style="bold red"))
        sys.exit(1)
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))  # noqa: T201 - stdout is the interface


def _run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    llm = ChatSoftPrompt(model=options.model, max_tokens=64)
    start = time.perf_counter()
    with console.status("Loading the frozen model (the first time it is converted, which takes a minute) …"):
        llm.invoke("Hello", max_tokens=1)
    facts: dict[str, Any] = {
        "model": options.model,
        "load_seconds": round(time.perf_counter() - start, 2),
        "rows": options.rows,
        "steps": {},
    }
    sizes = {task.name: sum(file.stat().st_size for file in task.soft_prompt.iterdir()) / 1024 for task in TASKS}
    for task in TASKS:
        rows = task.rows(options.rows)
        with console.status(f"Step '{task.name}': {len(rows)} held-out rows, three ways …") as status:
            arms = compare(llm, task, rows, status.update)
        screen.show_scores(console, task, rows, arms)
        facts["steps"][task.name] = [_arm_facts(arm, len(rows)) for arm in arms]
    said = spoken_questions(options.chain_rows)
    texts = [{"text": row.text} for row in said]
    with console.status(f"The chain on {len(said)} spoken questions …"):
        hard, soft = hard_chain(llm).batch(texts), soft_chain(llm).batch(texts)
    screen.show_chain(console, said, hard, soft, shown=4)
    facts["models_in_memory"] = frozen_models_in_memory()
    screen.show_model(console, options.model, _megabytes(options.model), sizes, in_memory=facts["models_in_memory"])
    for name, tickets in (("hard", hard), ("soft", soft)):
        right = [is_right(ticket["intent"], row.answer) for ticket, row in zip(tickets, said, strict=True)]
        facts[f"chain_{name}"] = sum(right) / len(right)
    facts["seconds"] = round(time.perf_counter() - start, 1)
    console.print(f"\nDone in {facts['seconds']:.0f} s. Use these soft prompts in your own chain: see README.md.")
    return facts


def _megabytes(model: str) -> float:
    from langchain_softprompt.engine import get_engine

    frozen = get_engine(model).model.model
    return sum(parameter.numel() * parameter.element_size() for parameter in frozen.parameters()) / 1e6


def _arm_facts(arm: Arm, rows: int) -> dict[str, Any]:
    return {
        "arm": arm.name,
        "score": round(arm.score, 4),
        "right": sum(arm.right),
        "rows": rows,
        "input_tokens": round(arm.input_tokens, 1),
        "seconds": round(arm.seconds, 2),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m langchain_softprompt.demo", description=__doc__)
    parser.add_argument("--model", default="embedded", help="the frozen model; the shipped soft prompts are made for the embedded one")
    parser.add_argument("--rows", type=int, default=24, help="held-out rows a step, up to 200")
    parser.add_argument("--chain-rows", type=int, default=16, help="spoken questions for the chain, up to 100")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON on stdout")
    options = parser.parse_args()
    if not 1 <= options.rows <= 200 or not 1 <= options.chain_rows <= 100:
        parser.error("--rows must be from 1 to 200, --chain-rows from 1 to 100")
    return options


if __name__ == "__main__":
    main()
