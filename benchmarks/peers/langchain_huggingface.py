"""langchain-huggingface: LangChain's own local pipeline. It knows no soft prompts; here it answers without."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import torch
import transformers
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from benchmarks.child import serve
from benchmarks.peers.chat import rendered, token_ids
from benchmarks.workload import Request


class LangChainHuggingFace:
    """`ChatHuggingFace`, and `HuggingFacePipeline` with a batch size, over one transformers pipeline."""

    def prepare(self, model: str, soft_prompts: dict[str, str], dtype: str = "bfloat16") -> dict[str, Any]:
        """Load the model; the soft prompts are of no use."""
        torch.set_num_threads(1)
        model_there = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        self._lengths: list[int] = []
        generate = model_there.generate

        def counted(*args: Any, **kwargs: Any) -> Any:
            answers = generate(*args, **kwargs)
            self._lengths += [answers.shape[1] - kwargs["input_ids"].shape[1]] * answers.shape[0]
            return answers

        model_there.generate = counted  # LangChain is told no usage
        self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        self._llm = HuggingFacePipeline(pipeline=pipeline("text-generation", model=model_there, tokenizer=self._tokenizer))
        self._chat = ChatHuggingFace(llm=self._llm, tokenizer=self._tokenizer)
        return {
            "langchain-huggingface": version("langchain-huggingface"),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        }

    def answer(self, requests: list[dict[str, Any]], new_tokens: int, *, batched: bool = False) -> dict[str, Any]:
        """By `ChatHuggingFace.batch`, one request at a time on the one thread; or by `HuggingFacePipeline.batch` in one padded batch."""
        wanted = [Request.from_json(request) for request in requests]
        # Per call: the field of the same name is not looked at.
        settings = {"max_new_tokens": new_tokens, "do_sample": False, "return_full_text": False}
        self._lengths.clear()
        start = time.perf_counter()
        if batched:
            self._llm.batch_size = len(wanted)
            texts = [rendered(self._tokenizer, request) for request in wanted]
            answers = self._llm.batch(texts, pipeline_kwargs={**settings, "batch_size": len(wanted)})
        else:
            answers = self._chat.batch([_messages(request) for request in wanted], {"max_concurrency": 1}, pipeline_kwargs=settings)
        seconds = time.perf_counter() - start
        assert len(answers) == len(wanted)
        lengths = [len(token_ids(self._tokenizer, request)) for request in wanted]
        return {"seconds": seconds, "new_tokens": list(self._lengths), "prompt_tokens": lengths}


def _messages(request: Request) -> list[Any]:
    kinds = {"system": SystemMessage, "user": HumanMessage}
    return [kinds[message["role"]](message["content"]) for message in request.messages]


if __name__ == "__main__":
    serve(LangChainHuggingFace())
