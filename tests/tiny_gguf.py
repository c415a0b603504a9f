"""A tiny GGUF file."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from langchain_softprompt.testing import tiny_tokenizer

LAYERS, HIDDEN, _HEADS, _KV_HEADS, _INNER = 2, 32, 4, 2, 64


def write_tiny_gguf(file: Path, *, without: str = "") -> Path:
    """A random Llama with the byte tokenizer, as llama.cpp would write it."""
    tokenizer = tiny_tokenizer()
    vocabulary = tokenizer.get_vocab()
    tokens = [*sorted(vocabulary, key=vocabulary.__getitem__), "ab"]  # readers want at least one merge
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_merges(["a b"])
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.pad_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, shape in _shapes(len(tokens)).items():
        if name != without:
            random = np.random.default_rng(len(name)).normal(0, 0.3, shape)
            writer.add_tensor(name, (np.ones(shape) if "norm" in name else random).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _shapes(vocab: int) -> dict[str, tuple[int, ...]]:
    keys = _KV_HEADS * HIDDEN // _HEADS
    layer = {
        "attn_norm": (HIDDEN,),
        "attn_q": (HIDDEN, HIDDEN),
        "attn_k": (keys, HIDDEN),
        "attn_v": (keys, HIDDEN),
        "attn_output": (HIDDEN, HIDDEN),
        "ffn_norm": (HIDDEN,),
        "ffn_gate": (_INNER, HIDDEN),
        "ffn_up": (_INNER, HIDDEN),
        "ffn_down": (HIDDEN, _INNER),
    }
    shapes = {"token_embd.weight": (vocab, HIDDEN), "output.weight": (vocab, HIDDEN), "output_norm.weight": (HIDDEN,)}
    return shapes | {f"blk.{index}.{name}.weight": shape for index in range(LAYERS) for name, shape in layer.items()}
