"""A small vLLM of our own, for tests: the HTTP interface of vLLM 0.32 as far as we use it, over the engine of this package.

    with LoopbackVLLM(tiny_model()) as vllm:
        llm = ChatSoftPrompt(model=folder, engine=VLLMEngine(vllm.url))

Its answers are real: the engine makes them. It is stricter than vLLM, which passes over fields it does not know; here they are
refused, and so is every value that vLLM would refuse. What can go wrong on purpose is in `faults`: servers that are down, slow,
hang, break off, garble, refuse, serve another model, or hold answers to nothing.

It was written after vLLM's source and after what a real one sent (`tests/unit_tests/remote/recorded`). It is no proof of what
vLLM does otherwise: of its scheduling, of rounding on a GPU, and of log-probabilities under a grammar, which vLLM masks first.
"""

from tests.vllm.faults import Fault
from tests.vllm.server import MODEL, LoopbackVLLM

__all__ = ["MODEL", "Fault", "LoopbackVLLM"]
