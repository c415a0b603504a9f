"""Requests as they come, looked at as vLLM 0.32 looks at them, and more strictly: a field that it does not know is refused."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.grammars import GrammarSource
from langchain_softprompt.sampling import Grammar
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import read_config

if TYPE_CHECKING:
    from langchain_softprompt.sampling import Constraint
    from tests.vllm.server import LoopbackVLLM

_PLACEHOLDER = "<prompt_embeds>"
_MOST_LOGPROBS = 20
_SAMPLING = {
    "model": str,
    "stream": bool,
    "stream_options": dict,
    "max_tokens": int,
    "temperature": (int, float),
    "top_k": int,
    "top_p": (int, float),
    "min_p": (int, float),
    "repetition_penalty": (int, float),
    "presence_penalty": (int, float),
    "frequency_penalty": (int, float),
    "seed": (int, type(None)),
    "n": int,
    "stop": list,
    "stop_token_ids": list,
    "ignore_eos": bool,
    "add_special_tokens": bool,
    "return_token_ids": bool,
    "return_tokens_as_token_ids": bool,
}
_OPTIONAL = {"structured_outputs": dict, "allowed_token_ids": list}
_FIELDS = {
    "/v1/completions": ({**_SAMPLING, "prompt": list}, {**_OPTIONAL, "logprobs": int}),
    "/v1/soft_prompts/completions": ({**_SAMPLING, "prompt": list, "soft_prompt": dict}, {**_OPTIONAL, "logprobs": int}),
    "/v1/chat/completions": (
        {**_SAMPLING, "messages": list, "add_generation_prompt": bool, "cache_salt": str},
        {**_OPTIONAL, "logprobs": bool, "top_logprobs": int},
    ),
}
ROUTES = tuple(_FIELDS)


class RefusalError(Exception):
    """What vLLM answers in place of an answer.

    Attributes:
        status: Of HTTP; 200 where it comes as an event of the stream.
        content: The JSON.
    """

    def __init__(self, status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None, within: bool = False) -> None:
        super().__init__(message)
        self.status = 200 if within else status
        self.content = {"error": {"message": message, "type": kind, "param": param, "code": status}}


class Only:
    """`allowed_token_ids` as a constraint."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def start(self, stop_ids: frozenset[int]) -> Only:
        return self

    def mask(self, size: int) -> torch.Tensor:
        mask = torch.zeros(size, dtype=torch.bool)
        mask[self.tokens] = True
        return mask

    def accept(self, token: int) -> bool:
        return False


@dataclass(frozen=True)
class Understood:
    """A request that can be answered.

    Attributes:
        prompt: The prompt's token ids as the server tells them: soft rows as placeholders.
    """

    path: str
    token_ids: list[int]
    soft_prompt: SoftPrompt | None
    settings: GenerationSettings
    constraint: Constraint | None
    prompt: list[int]

    @property
    def is_chat(self) -> bool:
        return self.path == "/v1/chat/completions"


def understand(vllm: LoopbackVLLM, path: str, body: Any) -> Understood:
    _check_fields(path, body)
    if body["model"] != vllm.name:
        msg = f"The model `{body['model']}` does not exist. Valid aliases: {vllm.name}."
        raise RefusalError(404, msg, kind="NotFoundError", param="model")
    if body["max_tokens"] > vllm.max_model_len:
        msg = f"max_tokens={body['max_tokens']} cannot be greater than max_model_len={vllm.max_model_len}. Please request fewer."
        raise RefusalError(400, msg, param="max_tokens")
    soft_prompt, ids = _prompt(vllm, path, body)
    virtual = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
    room = vllm.max_model_len - virtual - len(ids)
    if room < 1:
        msg = (
            f"This model's maximum context length is {vllm.max_model_len} tokens. However, your prompt contains {virtual + len(ids)} input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
        )
        raise RefusalError(400, msg, param="input_tokens")
    body["max_tokens"] = min(body["max_tokens"], room)  # an answer that has no room is cut, and nothing said
    prompt = [len(vllm.tokenizer)] * virtual + ids
    return Understood(path, ids, soft_prompt, _settings(path, body), _constraint(vllm, body), prompt)


def _check_fields(path: str, body: Any) -> None:
    needed, optional = _FIELDS[path]
    if not isinstance(body, dict):
        raise RefusalError(400, "the body is no object")
    for name in needed:
        if name not in body:
            raise RefusalError(400, f"{name} is missing, and so the server's own default would be taken", param=name)
    for name, value in body.items():
        kind = {**needed, **optional}.get(name)
        if kind is None:
            raise RefusalError(400, f"vLLM does not know {name}, and would pass over it", param=name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise RefusalError(400, f"{name} is {value!r}", param=name)
    plain = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 1,
        "stop": [],
        "add_special_tokens": False,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    for name, value in plain.items():
        if body[name] != value:
            raise RefusalError(400, f"{name} is {body[name]!r}", param=name)


def _prompt(vllm: LoopbackVLLM, path: str, body: dict[str, Any]) -> tuple[SoftPrompt | None, list[int]]:
    if path == "/v1/chat/completions":
        soft_prompt, text = _chat(vllm, body)
        return soft_prompt, list(vllm.tokenizer.encode(text, add_special_tokens=False))
    ids = body["prompt"]
    if not ids or not all(type(token) is int and token >= 0 for token in ids):
        raise RefusalError(400, "prompt is no list of token ids", param="prompt")
    unknown = next((token for token in ids if token >= len(vllm.tokenizer)), None)
    if unknown is not None:
        raise RefusalError(400, f"Token id {unknown} is out of vocabulary", within=True)
    if path == "/v1/completions":
        return None, ids
    return _known(vllm, body["soft_prompt"], ids)


def _known(vllm: LoopbackVLLM, named: dict[str, Any], ids: list[int]) -> tuple[SoftPrompt, list[int]]:
    if set(named) != {"content_hash", "virtual_tokens", "base_fingerprint", "allow_other_model", "model_fingerprint"}:
        raise RefusalError(400, f"soft_prompt has the fields {sorted(named)}", param="soft_prompt")
    found = vllm.soft_prompts.get(named["content_hash"])
    if found is None:
        msg = f"There is no soft prompt {named['content_hash']} here."
        raise RefusalError(404, msg, kind="SoftPromptNotFound", param="soft_prompt.content_hash")
    if found.num_virtual_tokens != named["virtual_tokens"]:
        raise RefusalError(400, f"It has {found.num_virtual_tokens} virtual tokens.", param="soft_prompt.virtual_tokens")
    wanted = named["model_fingerprint"]
    if None not in (wanted, vllm.fingerprint) and wanted != vllm.fingerprint:
        msg = f"The client's model has the fingerprint {wanted}, and this server's has {vllm.fingerprint}."
        raise RefusalError(409, msg, kind="ModelMismatch", param="soft_prompt")
    base, allow = named["base_fingerprint"], named["allow_other_model"]
    if base is not None and vllm.fingerprint is not None and base != vllm.fingerprint and not allow:
        raise RefusalError(409, f"It was made for {base}, and this is {vllm.fingerprint}.", kind="ModelMismatch", param="soft_prompt")
    return replace(found, manifest=None), ids  # what it says of models was looked at


def _chat(vllm: LoopbackVLLM, body: dict[str, Any]) -> tuple[SoftPrompt, str]:
    if body["add_generation_prompt"] or not 1 <= len(body["cache_salt"]) <= 1024:
        raise RefusalError(400, "the template would add to the text, or there is no salt")
    match body["messages"]:
        case [
            {"role": "soft_prompt", "content": [{"type": "prompt_embeds", "data": str(data), **no_part}], **no_soft},
            {"role": "user", "content": str(text), **no_user},
        ] if not (no_part or no_soft or no_user):
            pass
        case _:
            raise RefusalError(400, "the messages are of another form", param="messages")
    if _PLACEHOLDER in text:
        raise RefusalError(400, f"Text content may not contain the reserved placeholder '{_PLACEHOLDER}'.", param="messages")
    try:
        rows = torch.load(io.BytesIO(base64.b64decode(data, validate=True)), weights_only=True)
    except (binascii.Error, RuntimeError, EOFError) as error:
        raise RefusalError(400, f"the rows can't be read: {error}", param="prompt_embeds") from error
    hidden = vllm.model.hidden_size
    if not isinstance(rows, torch.Tensor) or rows.dim() != 2 or not rows.is_floating_point() or not len(rows):
        raise RefusalError(400, "`prompt_embeds` is no matrix of numbers", param="prompt_embeds")
    if rows.shape[1] != hidden:
        msg = f"`prompt_embeds` hidden_size {rows.shape[1]} does not match the model's hidden_size {hidden}."
        raise RefusalError(400, msg, param="prompt_embeds")
    said = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": len(rows), "token_dim": hidden}
    return SoftPrompt(read_config(said), {"prompt_embeddings": rows.float()}), text


def _settings(path: str, body: dict[str, Any]) -> GenerationSettings:
    asked = body.get("logprobs")
    top = asked if path != "/v1/chat/completions" else body.get("top_logprobs", 0) if asked else None
    if top is not None and top > _MOST_LOGPROBS:
        msg = f"Requested sample logprobs of {top}, which is greater than max allowed: {_MOST_LOGPROBS} (parameter=logprobs, value={top})"
        raise RefusalError(400, msg, param="logprobs", within=True)
    try:
        return GenerationSettings(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_k=body["top_k"],
            top_p=body["top_p"],
            min_p=body["min_p"],
            repetition_penalty=body["repetition_penalty"],
            seed=body["seed"],
            stop_token_ids=tuple(body["stop_token_ids"]),
            top_logprobs=top,
        )
    except SoftPromptError as error:
        raise RefusalError(400, str(error)) from error


def _constraint(vllm: LoopbackVLLM, body: dict[str, Any]) -> Constraint | None:
    if body["ignore_eos"] is not (not body["stop_token_ids"]):
        raise RefusalError(400, "an answer that nothing ends, or one that what ends it does not end", param="ignore_eos")
    if "allowed_token_ids" in body:
        return Only(body["allowed_token_ids"])
    if "structured_outputs" not in body or not vllm.holds_to_grammars:
        return None
    if set(body["structured_outputs"]) != {"grammar"}:
        raise RefusalError(400, "structured_outputs is no grammar", param="structured_outputs")
    try:
        return Grammar(GrammarSource.from_lark(body["structured_outputs"]["grammar"]), vllm.tokenizer)
    except SoftPromptError as error:
        raise RefusalError(400, f"Grammar error: {error}", within=True) from error
