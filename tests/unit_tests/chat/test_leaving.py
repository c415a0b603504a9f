"""The interpreter leaves at once, whatever is under way, but for threads that Python itself waits for."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import asyncio, sys, threading
from langchain_core.callbacks import BaseCallbackHandler
from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.testing import tiny_model

engine = Engine(tiny_model(max_positions=10**7))
llm = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=300_000)
stream = llm.stream("left in the middle")
next(stream)


def abandoned():
    ends = llm.batch(["one", "two"] * 20, return_exceptions=True)
    print("of a daemon:", {type(end).__name__ for end in ends}, flush=True)


class Started(BaseCallbackHandler):
    items = 0

    def on_chat_model_start(self, *_, **__):
        self.items += 1


started = Started()


def stays():
    answers = llm.batch(["three", "four"], {"callbacks": [started]}, max_tokens=300)
    print("of a thread that stays:", {answer.response_metadata["finish_reason"] for answer in answers}, flush=True)


async def read(question):
    async for _ in llm.astream(question):
        pass


async def main():
    tasks = [asyncio.create_task(read("five")), asyncio.create_task(llm.ainvoke("six"))]
    # All of the first batch that its pool has threads for, and the rest.
    while started.items < 2 or engine.load.running + engine.load.waiting < 2 * engine.limits.max_rows + 3:
        await asyncio.sleep(0)
    print("leaving", flush=True)
    sys.exit(3)


threading.Thread(target=abandoned, daemon=True).start()
threading.Thread(target=stays).start()
asyncio.run(main())
"""


def test_nobody_waits_for_a_stream_a_batch_and_tasks_that_are_left() -> None:
    """In one process: each of them alone would take minutes to be answered."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 3
    told = set(done.stdout.splitlines())
    # A daemon may or may not come to say what became of its batch.
    assert told - {"of a daemon: {'RequestCancelledError'}"} == {"leaving", "of a thread that stays: {'length'}"}
    assert done.stderr == ""
