"""This package as a contender: everything goes through `ChatSoftPrompt`, save where only the engine can be asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField

from benchmarks.child import serve
from benchmarks.forward_clock import ForwardClock
from benchmarks.profiling import profiled
from benchmarks.workload import Request
from langchain_softprompt import ChatSoftPrompt, Engine, EngineLimits, GenerationSettings, SoftPrompt
from langchain_softprompt.demo.comparison import PLAIN, is_right
from langchain_softprompt.demo.tasks import TASKS
from langchain_softprompt.engine import Generation, get_engine


class Ours:
    """One engine on one frozen model."""

    def prepare(
        self,
        model: str,
        soft_prompts: dict[str, str],
        dtype: str = "bfloat16",
        quantization: str | None = None,
        limits: dict[str, int] | None = None,
    ) -> dict[str, Any]:
        """Load the model; `limits` are those of `EngineLimits` that are not to be the default."""
        torch.set_num_threads(1)
        self._imports = resident_bytes()
        self._clock = ForwardClock()
        self._folders: dict[str | None, str | None] = {**soft_prompts, None: None}
        self._limits = EngineLimits(**(limits or {}))
        self._engine: Engine = get_engine(model, dtype=dtype, device="cpu", quantization=quantization, limits=self._limits)
        self._llm = ChatSoftPrompt(model=model, dtype=dtype, device="cpu", quantization=quantization, engine_limits=self._limits)
        self._any = self._llm.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def answer(self, requests: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """One request by `invoke`, several by `batch`, in which each names its soft prompt in its config."""
        wanted = [Request.from_json(request) for request in requests]
        inputs: list[Any] = [request.messages for request in wanted]
        start = time.perf_counter()
        if len(wanted) == 1:
            answers = [self._llm.with_soft_prompt(self._folders[wanted[0].soft_prompt]).invoke(inputs[0], max_tokens=new_tokens)]
        else:
            rows = self._limits.max_rows
            configs: list[Any] = [
                {"configurable": {"soft_prompt": self._folders[request.soft_prompt]}, "max_concurrency": 2 * rows} for request in wanted
            ]
            answers = self._any.batch(inputs, configs, max_tokens=new_tokens)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "new_tokens": [_new(one) for one in answers], "prompt_tokens": self._prompt_tokens(answers)}

    def passes(self) -> dict[str, Any]:
        """Seconds and calls of the model's passes since this was asked last."""
        seen = {"seconds": dict(self._clock.seconds), "calls": dict(self._clock.calls)}
        self._clock.reset()
        return seen

    def first_compile(self, text: str, longer_text: str, soft_prompts: list[str], times: int) -> dict[str, list[float]]:
        """Seconds to the first token of a text behind a soft prompt read for the first time, and of a text as much longer.

        Asked of the engine with token ids: a chat template would be known under the bare model and not under the soft prompt.
        """
        tokenizer = self._engine.model.tokenizer
        shorter = [tokenizer.encode(text, add_special_tokens=False) for text in text.splitlines()]
        longer = [tokenizer.encode(text, add_special_tokens=False) for text in longer_text.splitlines()]
        seen: dict[str, list[float]] = {"compile": [], "prefill": []}
        for number in range(times):
            soft_prompt = SoftPrompt.load(self._folders[soft_prompts[number]])
            seen["compile"].append(self._first_token(shorter[number], soft_prompt))
            seen["prefill"].append(self._first_token(longer[number], None))
        return seen

    def memory(self, requests: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """Resident memory while requests are answered, and what of it is in the caches."""
        rows: list[int] = []
        with _sampled(lambda: rows.append(_row_bytes(self._engine)), resident := []):
            answer = self.answer(requests, new_tokens)
        return {
            "answer": answer,
            "imports_bytes": self._imports,
            "resident_bytes": max(resident),
            "mapped_bytes": resident_bytes("RssFile"),
            "row_bytes": max(rows),
            "prefix_bytes": _prefix_bytes(self._engine),
            "row_cache_bytes": self._limits.row_cache_bytes,
            "prefix_cache_bytes": self._limits.prefix_cache_bytes,
        }

    def stages(self, request: dict[str, Any], new_tokens: int) -> dict[str, float]:
        """Milliseconds of one request before the engine has it, in the engine beside and inside the passes, and after that."""
        submit, end = Engine.submit, Generation.end
        times: dict[str, float] = {}

        def timed_submit(*args: Any, **kwargs: Any) -> Generation:
            times["submit"] = time.perf_counter()
            return submit(*args, **kwargs)

        def timed_end(*args: Any) -> None:
            times["end"] = time.perf_counter()
            end(*args)

        self._clock.reset()
        with patch.object(Engine, "submit", timed_submit), patch.object(Generation, "end", timed_end):
            start = time.perf_counter()
            self.answer([request], new_tokens)
            stop = time.perf_counter()
        seconds = {
            "before_the_engine": times["submit"] - start,
            "engine_beside_the_passes": times["end"] - times["submit"] - self._clock.total,
            "passes": self._clock.total,
            "after_the_engine": stop - times["end"],
        }
        return {f"{name}_ms": 1000 * value for name, value in seconds.items()}

    def task_answers(self, rows: int) -> dict[str, dict[str, list[Any]]]:
        """What the shipped soft prompts answer on held-out rows of their tasks, and which answers are right."""
        seen: dict[str, dict[str, list[Any]]] = {}
        for task in TASKS:
            asked = task.rows(rows)
            llm = PLAIN | self._llm.with_soft_prompt(task.soft_prompt).bind(max_tokens=task.max_tokens)
            answers = [reply.text.strip() for reply in llm.batch([{"text": row.text} for row in asked])]
            seen[task.name] = {"answers": answers, "right": [is_right(one, row.answer) for one, row in zip(answers, asked, strict=True)]}
        return seen

    def profile(self, requests: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """Where the time of answering these requests goes."""
        profiled(int)  # its own first time takes long
        self._clock.reset()
        operators, answer = profiled(lambda: self.answer(requests, new_tokens))
        seconds = answer["seconds"]
        shares = {f"passes of the model, {kind}": spent / seconds for kind, spent in self._clock.seconds.items()}
        shares["everything else: tokenizer, LangChain, scheduling, sampling, caches"] = 1 - self._clock.total / seconds
        return {"shares": shares, "operators": operators}

    def _first_token(self, token_ids: list[int], soft_prompt: SoftPrompt | None) -> float:
        start = time.perf_counter()
        self._engine.submit(token_ids, soft_prompt=soft_prompt, settings=GenerationSettings(max_new_tokens=1)).result()
        return time.perf_counter() - start

    def _prompt_tokens(self, answers: list[AIMessage]) -> list[int]:
        virtual = [answer.response_metadata.get("num_virtual_tokens") or 0 for answer in answers]
        return [
            (answer.usage_metadata or {"input_tokens": 0})["input_tokens"] - length for answer, length in zip(answers, virtual, strict=True)
        ]


def _new(answer: AIMessage) -> int:
    assert answer.usage_metadata is not None
    return answer.usage_metadata["output_tokens"]


# Not offered by the engine itself; nothing outside a benchmark needs to know.


def _row_bytes(engine: Engine) -> int:
    return int(getattr(engine._worker._rows, "num_bytes", 0))  # noqa: SLF001


def _prefix_bytes(engine: Engine) -> int:
    return engine._worker._reader.prefixes.num_bytes  # noqa: SLF001


@contextmanager
def _sampled(look: Any, resident: list[int]) -> Iterator[None]:
    """Look every hundredth of a second; `look` may meet the engine's thread at work, so what it raises is no matter."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.01):
            resident.append(resident_bytes())
            try:
                look()
            except (AttributeError, RuntimeError):
                continue

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def resident_bytes(kind: str = "VmRSS") -> int:
    """Resident memory of this process; `RssFile` is the part that maps files, weights read in place among them."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024


__all__ = ["Ours", "resident_bytes"]

if __name__ == "__main__":
    serve(Ours())
