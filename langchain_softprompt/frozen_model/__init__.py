"""The frozen model: where its weights come from, what identifies it, and how chats become its token ids.

Files:
    model.py        FrozenModel: model, tokenizer, dtype, device, fingerprint
    sources.py      a name becomes a local folder: embedded, folder, GGUF file, Hub id
    gguf.py         a GGUF file becomes a transformers folder, once
    fingerprint.py  what identifies a set of weights
    one_row.py      one pass over one row
    self_test.py    may this model's cache be continued from a prefix?
    chat.py         chat messages become token ids
"""

from __future__ import annotations

from langchain_softprompt.frozen_model.chat import encode_text, render_chat
from langchain_softprompt.frozen_model.model import FrozenModel

__all__ = ["FrozenModel", "encode_text", "render_chat"]
