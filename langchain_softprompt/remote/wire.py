"""Wire: a request as JSON, in the words of vLLM's HTTP interface."""

from __future__ import annotations

import base64
import io
import json
from collections import OrderedDict
from typing import Any

import torch

from langchain_softprompt.errors import ModelMismatchError, NonFiniteSoftPromptError, RequestError
from langchain_softprompt.frozen_model import ModelOutline, encode_text
from langchain_softprompt.hub.local import TENSOR_FILE
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.identity import Served
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.vllm_plugin.names import COMPLETIONS_ROUTE, SOFT_PROMPT_ROLE

# Tokens alone; keys and values, by a route of our own plug-in, which a server without it does not have; soft rows, in a chat that
# the server's template prints as it stands.
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
# What vLLM puts in place of soft rows.
_PLACEHOLDER = "<prompt_embeds>"
_MOST_ROWS_KEPT = 64
_MOST_TOPS = 20  # of a server that is not told otherwise
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Wire:
    """Writes requests for the servers of one model; keeps the text of soft rows, which is made once.

    Attributes:
        outline: The model.
    """

    def __init__(self, outline: ModelOutline) -> None:
        self.outline = outline
        self._rows: OrderedDict[tuple[str, str], str] = OrderedDict()

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return self.outline.vocab_size

    def request(self, asked: Asked, served: Served) -> tuple[str, bytes]:
        """The path to ask, and the body.

        Raises:
            RequestError: The soft prompt is made of rows, and the text before it would not be read as the tokens that it is.
            ModelMismatchError: Its rows are of another width than the model's.
            NonFiniteSoftPromptError: Its rows overflow in the server's dtype.
        """
        body = {"model": served.name, "stream": True, "stream_options": {"include_usage": True}, **_sampling(asked)}
        soft_prompt, top = asked.soft_prompt, asked.settings.top_logprobs
        if soft_prompt is not None and not soft_prompt.config.holds_key_values:
            body |= {
                "messages": self._messages(asked, soft_prompt, served),
                "add_generation_prompt": False,
                "cache_salt": soft_prompt.content_hash,
            }
            body |= {"logprobs": True, "top_logprobs": _chat_tops(top)} if top is not None else {}
            return CHAT, json.dumps(body).encode()
        body |= {"prompt": list(asked.token_ids)}
        body |= {"logprobs": top} if top is not None else {}
        if soft_prompt is None:
            return COMPLETIONS, json.dumps(body).encode()
        manifest = soft_prompt.manifest
        body["soft_prompt"] = {
            "content_hash": soft_prompt.content_hash,
            "virtual_tokens": soft_prompt.num_virtual_tokens,
            "base_fingerprint": manifest.base_model.fingerprint if manifest is not None else None,
            "allow_other_model": asked.allow_other_model,
            "model_fingerprint": self.outline.known_fingerprint,
        }
        return COMPLETIONS_ROUTE, json.dumps(body).encode()

    def _messages(self, asked: Asked, soft_prompt: SoftPrompt, served: Served) -> list[dict[str, Any]]:
        rows = {"type": "prompt_embeds", "data": self._rows_of(soft_prompt, served)}
        return [{"role": SOFT_PROMPT_ROLE, "content": [rows]}, {"role": "user", "content": self._text(asked.token_ids)}]

    def _text(self, token_ids: tuple[int, ...]) -> str:
        """The text that the server will read as these tokens."""
        tokenizer = self.outline.tokenizer
        text = str(tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if _PLACEHOLDER in text or tuple(encode_text(tokenizer, text)) != token_ids:
            what = f"it holds {_PLACEHOLDER}" if _PLACEHOLDER in text else "as text it is other tokens, as are control marks in a message"
            msg = (
                f"The text can't travel to a vLLM server behind a soft prompt made of rows: {what}. Export the soft prompt, "
                "langchain-softprompt export FOLDER NEW --model MODEL, and serve that with the plug-in: it travels with token ids."
            )
            raise RequestError(msg)
        return text

    def _rows_of(self, soft_prompt: SoftPrompt, served: Served) -> str:
        """The rows as vLLM reads them: a tensor as `torch.save` writes it, in base64."""
        dtype = served.dtype if served.dtype in _DTYPES else "float32"
        key = (soft_prompt.content_hash, dtype)
        if key not in self._rows:
            self._rows[key] = self._written(soft_prompt, dtype)
            if len(self._rows) > _MOST_ROWS_KEPT:
                self._rows.popitem(last=False)
        self._rows.move_to_end(key)
        return self._rows[key]

    def _written(self, soft_prompt: SoftPrompt, dtype: str) -> str:
        rows = soft_prompt.embedding_rows()
        if rows is None:
            msg = f"a soft prompt of type {soft_prompt.kind} holds no rows"
            raise TypeError(msg)
        width, hidden = rows.shape[1], self.outline.hidden_size
        if width != hidden:
            msg = (
                f"The soft prompt's hidden size is {width}, that of {self.outline.name} is {hidden}. "
                "It was made for another model; serve that one."
            )
            raise ModelMismatchError(msg, expected=f"hidden size {width}", found=f"hidden size {hidden}")
        cast = rows.to(_DTYPES[dtype]).contiguous()
        if not bool(torch.isfinite(cast).all()):  # vLLM does not look, and later requests of others would suffer.
            largest = f"{float(rows.abs().max()):.3g}, which becomes Inf in {dtype}"
            hint = "Start the server with --dtype float32 or bfloat16."
            raise NonFiniteSoftPromptError(
                file=TENSOR_FILE, field="prompt_embeddings", expected=f"numbers that fit {dtype}", found=largest, hint=hint
            )
        written = io.BytesIO()
        torch.save(cast.clone(), written)
        return base64.b64encode(written.getvalue()).decode()


def _chat_tops(top: int) -> int:
    """How many to ask for on the chat route, which counts the token that was picked as one of them, be it among the likeliest or not."""
    return top + 1 if 0 < top < _MOST_TOPS else top


def _sampling(asked: Asked) -> dict[str, Any]:
    """Everything is said, as what is not would be taken from the server's own settings of generation."""
    settings = asked.settings
    said: dict[str, Any] = {
        "max_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_k": settings.top_k or 0,
        "top_p": settings.top_p,
        "min_p": settings.min_p,
        "repetition_penalty": settings.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": settings.seed,
        "n": 1,
        "stop": [],
        "stop_token_ids": list(asked.stop_ids),
        "ignore_eos": not asked.stop_ids,
        "add_special_tokens": False,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    if asked.grammar is not None:
        said["structured_outputs"] = {"grammar": asked.grammar}
    if asked.only is not None:
        # A grammar would do the same, but vLLM's log-probabilities are those after its mask. This is applied after they are taken.
        said["allowed_token_ids"] = [asked.only]
    return said


__all__ = ["CHAT", "COMPLETIONS", "Wire"]
