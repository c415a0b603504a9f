"""PEFT's training in its usual loop: shuffled batches padded to the longest row, labels on the answer, AdamW."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
from peft import PrefixTuningConfig, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.child import serve

_IGNORED = -100


class Peft:
    """Whole passes over some rows."""

    def prepare(
        self, model: str, template: str, rows: list[list[list[int]]], method: str, virtual_tokens: int, batch: int, threads: int
    ) -> Any:
        """Load the model and wrap it; rows are token ids of text and answer."""
        torch.set_num_threads(threads)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        if method == "prompt-tuning":
            config: Any = PromptTuningConfig(
                task_type=TaskType.CAUSAL_LM,
                num_virtual_tokens=virtual_tokens,
                prompt_tuning_init=PromptTuningInit.TEXT,
                prompt_tuning_init_text=template,
                tokenizer_name_or_path=model,
            )
        else:
            config = PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=virtual_tokens)
        self._model = get_peft_model(base, config)
        self._pad = AutoTokenizer.from_pretrained(model).pad_token_id or 0
        self._learned = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._learned, lr=1e-3, weight_decay=0.0)
        self._rows, self._batch = rows, batch
        self._order = torch.Generator().manual_seed(0)
        return {"parameters": sum(parameter.numel() for parameter in self._learned)}

    def learn(self) -> dict[str, float]:
        """One pass over the rows."""
        began = time.perf_counter()
        order = torch.randperm(len(self._rows), generator=self._order).tolist()
        for at in range(0, len(order), self._batch):
            loss = self._model(**self._padded([self._rows[row] for row in order[at : at + self._batch]])).loss
            loss.backward()
            clip_grad_norm_(self._learned, 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad()
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "loss": loss.item()}

    def _padded(self, rows: list[list[list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(text) + len(answer) for text, answer in rows)
        ids = torch.full((len(rows), longest), self._pad)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, _IGNORED)
        for row, (text, answer) in enumerate(rows):
            end = len(text) + len(answer)
            ids[row, :end] = torch.tensor(text + answer)
            mask[row, :end] = 1
            labels[row, len(text) : end] = torch.tensor(answer)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


if __name__ == "__main__":
    serve(Peft())
