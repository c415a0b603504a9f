"""The frozen model: where its weights come from, what identifies it, and how chats become its token ids.

Files:
    model.py        FrozenModel: model, tokenizer, dtype, device, fingerprint
    loading.py      a folder becomes a transformers model: which dtype, which device, what is refused
    sources.py      a name becomes a local folder: embedded, folder, GGUF file, Hub id
    gguf.py         a GGUF file becomes a transformers folder, once
    outline.py      ModelOutline: the same as far as it can be known without weights
    fingerprint.py  what identifies a set of weights
    stored_fingerprint.py  the same, read off their files
    end_tokens.py   the tokens that end an answer
    columns.py      ColumnCache: buffers made once that transformers writes keys and values into
    one_row.py      one pass over one row, or one step of several
    branches.py     continuations of a row that stand as a tree
    sizes.py        what a soft prompt has to fit, from the configuration alone
    self_test.py    which cache serves this model?
    chat.py         chat messages become token ids
"""

from __future__ import annotations

from langchain_softprompt.frozen_model.chat import encode_text, render_chat, with_chat_template
from langchain_softprompt.frozen_model.model import FrozenModel
from langchain_softprompt.frozen_model.outline import ModelOutline
from langchain_softprompt.frozen_model.sizes import model_sizes
from langchain_softprompt.frozen_model.stored_fingerprint import stored_fingerprint

__all__ = ["FrozenModel", "ModelOutline", "encode_text", "model_sizes", "render_chat", "stored_fingerprint", "with_chat_template"]
