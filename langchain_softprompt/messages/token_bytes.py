"""TokenBytes: what one token alone writes, as bytes, since a character may be spread over several tokens."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_softprompt.sampling import TokenLogprob

_ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_BEGIN = "\u2581"  # how SentencePiece writes a space
_LEAST = -9999.0  # what OpenAI says for a token that can't come; JSON has no infinity


class TokenBytes:
    """Looks up tokens of byte-level vocabularies (GPT-2's kind) and of SentencePiece's kind.

    Args:
        tokenizer: The frozen model's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        self._tokenizer = tokenizer
        self._byte_level = "ByteLevel" in repr(getattr(backend, "decoder", None))
        self._added = {int(number): str(token) for number, token in tokenizer.added_tokens_decoder.items()}

    def __call__(self, token_id: int) -> bytes:
        """The bytes of UTF-8 that a token writes; of a special token its name."""
        if token_id in self._added:
            return self._added[token_id].encode()
        written: Any = self._tokenizer.convert_ids_to_tokens(token_id)
        if written is None:  # An embedding may have more rows than the tokenizer has tokens.
            return b""
        if self._byte_level:
            table = _byte_of_character()
            return b"".join(bytes([table[one]]) if one in table else one.encode() for one in str(written))
        byte = _ONE_BYTE.fullmatch(str(written))
        return bytes([int(byte[1], 16)]) if byte else str(written).replace(_WORD_BEGIN, " ").encode()


def logprob_entry(token_bytes: TokenBytes, token_id: int, logprob: TokenLogprob) -> dict[str, Any]:
    """One token of an answer, as OpenAI's ``logprobs.content`` has it."""
    top = [_named(token_bytes, token, value) for token, value in logprob.top]
    return {**_named(token_bytes, token_id, logprob.logprob), "top_logprobs": top}


def _named(token_bytes: TokenBytes, token_id: int, logprob: float) -> dict[str, Any]:
    written = token_bytes(token_id)
    return {"token": written.decode("utf-8", errors="backslashreplace"), "bytes": list(written), "logprob": max(logprob, _LEAST)}


@cache
def _byte_of_character() -> dict[str, int]:
    """Byte-level vocabularies write printable bytes of Latin-1 as they are, the others as characters from 256 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
