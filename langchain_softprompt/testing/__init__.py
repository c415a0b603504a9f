"""For your own tests: a frozen model that is there in a blink, and an engine that answers what you tell it to.

    from langchain_softprompt import ChatSoftPrompt
    from langchain_softprompt.testing import FakeEngine

    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["Hello!"]))
    assert llm.invoke("Hi").text == "Hello!"

Files:
    tiny.py          a random model of a few thousand weights, its tokenizer, and soft prompts for it
    fake_scoring.py  FakeScoring: scripted scores of labels
    fake_engine.py   FakeEngine: scripted answers, no weights
"""

from __future__ import annotations

from langchain_softprompt.testing.fake_engine import FakeEngine, FakeRequest
from langchain_softprompt.testing.tiny import save_tiny_model, tiny_model, tiny_soft_prompt, tiny_tokenizer

__all__ = ["FakeEngine", "FakeRequest", "save_tiny_model", "tiny_model", "tiny_soft_prompt", "tiny_tokenizer"]
