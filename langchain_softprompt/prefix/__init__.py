"""SoftPrompt x FrozenModel -> KVPrefix: the one idea of this package.

Files:
    kv_prefix.py   KVPrefix: keys and values that a row's cache starts from
    compiling.py   segments (token ids, embedding rows, ready keys and values) become a KVPrefix
    store.py       PrefixStore: compiled soft prompts kept within a byte budget
"""

from __future__ import annotations

from langchain_softprompt.prefix.compiling import EmbeddingRows, KeyValues, Segment, TokenIds, compile_prefix, compile_segments
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.prefix.store import PrefixStore

__all__ = ["EmbeddingRows", "KVPrefix", "KeyValues", "PrefixStore", "Segment", "TokenIds", "compile_prefix", "compile_segments"]
