"""PEFT: one active soft prompt at a time, `set_adapter` and `generate`."""

from __future__ import annotations

import time
from itertools import groupby
from typing import Any

import peft
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.child import serve
from benchmarks.peers.chat import token_ids
from benchmarks.workload import Request


class Peft:
    """One model with all soft prompts loaded as its adapters."""

    def prepare(self, model: str, soft_prompts: dict[str, str], dtype: str = "bfloat16") -> dict[str, Any]:
        """Load the model and every soft prompt."""
        torch.set_num_threads(1)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        (first, folder), *others = soft_prompts.items()
        self._model = PeftModel.from_pretrained(base, folder, adapter_name=first)
        for name, other in others:
            self._model.load_adapter(other, adapter_name=name)
        self._model.eval()
        self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        return {"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__}

    def answer(self, requests: list[dict[str, Any]], new_tokens: int, *, grouped: bool = False) -> dict[str, Any]:
        """Answer one after another, or all of one soft prompt in a left-padded batch, which is faster and wrong.

        PEFT puts the rows of the soft prompt before the padding, so every answer of a batch but the longest prompt's differs.
        """
        wanted = [Request.from_json(request) for request in requests]
        if grouped:
            batches = [list(group) for _, group in groupby(sorted(wanted, key=_name), key=_name)]
        else:
            batches = [[request] for request in wanted]
        start = time.perf_counter()
        seen = [pair for batch in batches for pair in self._generate(batch, new_tokens)]
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "new_tokens": [new for new, _ in seen], "prompt_tokens": [length for _, length in seen]}

    @torch.inference_mode()
    def _generate(self, requests: list[Request], new_tokens: int) -> list[tuple[int, int]]:
        """New tokens and tokens of text of each."""
        self._model.set_adapter(_name(requests[0]))
        ids = [token_ids(self._tokenizer, request) for request in requests]
        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        answers = self._model.generate(**batch, max_new_tokens=new_tokens, do_sample=False)
        new = answers[:, batch["input_ids"].shape[1] :]
        self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return [(int(row.shape[0]), len(text)) for row, text in zip(new, ids, strict=True)]


def _name(request: Request) -> str:
    assert request.soft_prompt is not None, "PEFT has no way back to the bare model"
    return request.soft_prompt


if __name__ == "__main__":
    serve(Peft())
