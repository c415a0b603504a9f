"""SoftPromptEndpoints: the routes by which clients ask what is served, and ask for answers that wear a soft prompt.

A server without this plug-in has no such route, so a client that is sent to the wrong server gets an error, never an answer
without its soft prompt. Enabled with ``VLLM_PLUGINS=langchain_softprompt`` (vLLM 0.32's endpoint plug-ins).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import torch
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from vllm.entrypoints.openai.completion.protocol import CompletionRequest, CompletionResponse
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.utils.api_utils import load_aware_call, with_cancellation

from langchain_softprompt import __version__
from langchain_softprompt.frozen_model.sources import find_model
from langchain_softprompt.frozen_model.stored_fingerprint import stored_fingerprint
from langchain_softprompt.vllm_plugin.names import COMPLETIONS_ROUTE, CONNECTOR, PLUGIN, ROUTE, SOURCES
from langchain_softprompt.vllm_plugin.salting import Salts
from langchain_softprompt.vllm_plugin.served import ServedSoftPrompts
from langchain_softprompt.vllm_plugin.sharding import ShapeMismatchError, cast_finite
from langchain_softprompt.vllm_plugin.wearing import transfer_params

if TYPE_CHECKING:
    from argparse import Namespace

    from vllm.engine.protocol import EngineClient

    from langchain_softprompt.soft_prompt import SoftPrompt

logger = logging.getLogger(__name__)

_STATE = "softprompt_serving"
# What a request may say. All else is refused: some of it makes vLLM pass by the connector without a word (`prompt_logprobs`, beam
# search), some is this plug-in's own to set.
_ALLOWED = frozenset(
    {
        "model",
        "prompt",
        "soft_prompt",
        "max_tokens",
        "min_tokens",
        "n",
        "stream",
        "stream_options",
        "user",
        "request_id",
        "priority",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "include_stop_str_in_output",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "logprobs",
        "return_tokens_as_token_ids",
        "return_token_ids",
        "allowed_token_ids",
        "bad_words",
        "add_special_tokens",
        "response_format",
        "structured_outputs",
    }
)


class RefusalError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: The HTTP status.
        kind: What the error is called.
        message: What was wrong, and the next step.
    """

    def __init__(self, status: HTTPStatus, kind: str, message: str) -> None:
        self.status = status
        self.kind = kind
        self.message = message
        super().__init__(message)

    def response(self) -> Response:
        """In vLLM's own form of errors."""
        error = {"message": self.message, "type": self.kind, "param": "soft_prompt", "code": self.status.value}
        return JSONResponse({"error": error}, status_code=self.status.value)


@dataclass(frozen=True, slots=True)
class Serving:
    """What this server serves.

    Attributes:
        soft_prompts: Its soft prompts; ``None`` where the connector is not enabled.
        salts: Under which name its cache blocks are kept; ``None`` where the connector is not enabled.
        fingerprint: Of the frozen model's weights; ``None`` where the files do not tell it.
        dtype: What it computes in.
        facts: What clients are told of the model.
        finite: Content hashes of those whose numbers were found to fit the dtype.
    """

    soft_prompts: ServedSoftPrompts | None
    salts: Salts | None
    fingerprint: str | None
    dtype: torch.dtype
    facts: dict[str, Any]
    finite: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, vllm_config: Any, served_name: str) -> Serving:
        """Look at the server's own configuration; reads the model's weights once, 64 numbers of each."""
        model, transfer = vllm_config.model_config, vllm_config.kv_transfer_config
        connected = transfer is not None and transfer.kv_connector == CONNECTOR
        sources = transfer.get_from_extra_config(SOURCES, []) if connected else []
        fingerprint = _fingerprint(model.model, model.revision)
        facts = {
            "id": served_name,
            "root": model.model,
            "fingerprint": fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
            "max_model_len": model.max_model_len,
            "hidden_size": model.get_hidden_size(),
        }
        served, salts = (ServedSoftPrompts(sources), Salts.of(transfer)) if connected else (None, None)
        return cls(served, salts, fingerprint, model.dtype, facts)

    def salt(self, content_hash: str) -> str:
        """The name under which a soft prompt's cache blocks are kept.

        Raises:
            RefusalError: The connector is not enabled.
        """
        if self.salts is None:
            raise RefusalError(HTTPStatus.NOT_IMPLEMENTED, "ConnectorAbsent", "This server was started without the connector.")
        return self.salts.salt(content_hash)

    def told(self) -> dict[str, Any]:
        """What clients are told."""
        known = self.soft_prompts or ()
        return {"plugin": __version__, "model": self.facts, "soft_prompts": [_told(soft_prompt) for soft_prompt in known]}

    def worn(self, asked: Any) -> SoftPrompt:
        """The soft prompt that a request names, checked.

        Raises:
            RefusalError: It can't be worn here.
        """
        if not isinstance(asked, dict) or not isinstance(asked.get("content_hash"), str):
            raise RefusalError(
                HTTPStatus.BAD_REQUEST, "BadRequestError", 'soft_prompt: expected {"content_hash": "...", "virtual_tokens": n}.'
            )
        name = asked["content_hash"]
        if self.soft_prompts is None:
            msg = "This server was started without the soft prompts' connector (--kv-transfer-config). "
            msg += "Start it with the line that `langchain-softprompt serve-command` prints."
            raise RefusalError(HTTPStatus.NOT_IMPLEMENTED, "ConnectorAbsent", msg)
        found = self.soft_prompts.find(name)
        if found is None:
            msg = f"No soft prompt with the content hash {name[:64]} is in this server's folders. Copy it there; no restart is needed."
            raise RefusalError(HTTPStatus.NOT_FOUND, "SoftPromptNotFound", msg)
        if asked.get("virtual_tokens") not in (None, found.num_virtual_tokens):
            msg = f"The soft prompt has {found.num_virtual_tokens} virtual tokens, not {asked['virtual_tokens']}."
            raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", msg)
        self._check_model(found, asked)
        key_values = found.key_values() if name not in self.finite else None
        if not found.config.holds_key_values:
            msg = f"A soft prompt of type {found.kind} travels as embeddings: send its rows to /v1/chat/completions."
            raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", msg)
        try:
            if key_values is not None:
                cast_finite(key_values, self.dtype)
                self.finite.add(name)
        except ShapeMismatchError as error:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "NonFiniteSoftPrompt", f"{error} Serve the model in another dtype.") from None
        return found

    def _check_model(self, found: SoftPrompt, asked: dict[str, Any]) -> None:
        wanted = asked.get("model_fingerprint")
        if self.fingerprint is not None and wanted not in (None, self.fingerprint):
            msg = f"The client's model has the fingerprint {wanted}, and this server's has {self.fingerprint}."
            raise RefusalError(HTTPStatus.CONFLICT, "ModelMismatch", msg)
        if asked.get("allow_other_model") is True or self.fingerprint is None:
            return
        own = found.manifest.base_model.fingerprint if found.manifest is not None else None
        for made_for in (own, asked.get("base_fingerprint")):  # as its files here say, and as the client's do
            if made_for not in (None, self.fingerprint):
                msg = f"The soft prompt was made for a model with fingerprint {made_for}, and this server's has {self.fingerprint}."
                raise RefusalError(HTTPStatus.CONFLICT, "ModelMismatch", msg)


class SoftPromptEndpoints:
    """vLLM's endpoint plug-in; see the module's text.

    Attributes:
        name: What ``VLLM_PLUGINS`` calls it.
        required_tasks: What the server has to be able to do.
    """

    name = PLUGIN
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes."""
        router = APIRouter()
        router.add_api_route(ROUTE, tell, methods=["GET"])
        router.add_api_route(COMPLETIONS_ROUTE, complete, methods=["POST"])
        app.include_router(router)

    async def init_state(self, engine_client: EngineClient | None, state: Any, args: Namespace) -> None:
        """Look at what is served, once."""
        if engine_client is None:
            return
        names = getattr(args, "served_model_name", None)
        config = engine_client.vllm_config
        name = names[0] if isinstance(names, list) and names else names or config.model_config.model
        setattr(state, _STATE, await asyncio.to_thread(Serving.of, config, name))


async def tell(raw_request: Request) -> Response:
    """What this server serves."""
    serving: Serving | None = getattr(raw_request.app.state, _STATE, None)
    if serving is None:
        return RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "NotReady", "This server has no engine.").response()
    return JSONResponse(await asyncio.to_thread(serving.told))


@with_cancellation
@load_aware_call
async def _answer(request: CompletionRequest, raw_request: Request) -> Response:
    handler = raw_request.app.state.openai_serving_completion
    if handler is None:
        return RefusalError(HTTPStatus.NOT_IMPLEMENTED, "NotImplementedError", "The model does not complete texts.").response()
    answer = await handler.create_completion(request, raw_request)
    if isinstance(answer, ErrorResponse):
        return JSONResponse(answer.model_dump(), status_code=answer.error.code)
    if isinstance(answer, CompletionResponse):
        return JSONResponse(answer.model_dump())
    return StreamingResponse(answer, media_type="text/event-stream")


async def complete(raw_request: Request) -> Response:
    """``/v1/completions`` with a soft prompt before the text; the prompt is token ids."""
    serving: Serving | None = getattr(raw_request.app.state, _STATE, None)
    try:
        if serving is None:
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "NotReady", "This server has no engine.")
        request = await asyncio.to_thread(_dressed, serving, await _body(raw_request))
    except RefusalError as refusal:
        return refusal.response()
    answered: Response | None = await _answer(request, raw_request)
    return answered if answered is not None else Response(status_code=499)  # the client has left


async def _body(raw_request: Request) -> dict[str, Any]:
    try:
        body = await raw_request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", "The body is no JSON object.")
    return body


def _dressed(serving: Serving, body: dict[str, Any]) -> CompletionRequest:
    """The request as vLLM takes it: placeholders before the text, and what tells the connector."""
    soft_prompt = serving.worn(body.pop("soft_prompt", None))
    further = sorted(name for name, value in body.items() if name not in _ALLOWED and value is not None)
    if further:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", f"{further[0]} can't be used with a soft prompt.")
    text = body.get("prompt")
    if not isinstance(text, list) or not text or not all(type(token) is int for token in text):
        raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", "prompt: expected one list of token ids, at least one.")
    name, length = soft_prompt.content_hash, soft_prompt.num_virtual_tokens
    # The placeholders' own embeddings are never read. The text's first token is one of this model, and a repetition penalty,
    # which counts the prompt's tokens, counts none that the text does not have.
    dressed = {
        **body,
        "prompt": [text[0]] * length + text,
        "cache_salt": serving.salt(name),
        "kv_transfer_params": transfer_params(name, length),
    }
    try:
        return CompletionRequest.model_validate(dressed)
    except ValueError as error:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", str(error)[:500]) from None


def _told(soft_prompt: SoftPrompt) -> dict[str, Any]:
    return {
        "content_hash": soft_prompt.content_hash,
        "kind": soft_prompt.kind,
        "virtual_tokens": soft_prompt.num_virtual_tokens,
        "source": soft_prompt.source,
        "base_fingerprint": soft_prompt.manifest.base_model.fingerprint if soft_prompt.manifest is not None else None,
    }


def _fingerprint(model: str, revision: str | None) -> str | None:
    try:
        return stored_fingerprint(find_model(model, revision=revision).folder)
    except Exception as error:  # noqa: BLE001 - clients then know the model by its answers to recorded probes
        logger.warning("The model's fingerprint can't be read from its files: %s: %s", type(error).__name__, error)
        return None


__all__ = ["RefusalError", "Serving", "SoftPromptEndpoints"]
