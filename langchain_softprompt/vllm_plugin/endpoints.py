"""SoftPromptEndpoints: the routes by which clients ask what is served, and ask for answers that wear a soft prompt.

A server without this plug-in has no such route, so a client that is sent to the wrong server gets an error, never an answer
without its soft prompt. Enabled with ``VLLM_PLUGINS=langchain_softprompt`` (vLLM 0.32's endpoint plug-ins).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from vllm.entrypoints.openai.completion.protocol import CompletionRequest, CompletionResponse
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.utils.api_utils import load_aware_call, with_cancellation

from langchain_softprompt.vllm_plugin.names import COMPLETIONS_ROUTE, PLUGIN, ROUTE
from langchain_softprompt.vllm_plugin.refusal import RefusalError
from langchain_softprompt.vllm_plugin.serving import Serving
from langchain_softprompt.vllm_plugin.wearing import transfer_params

if TYPE_CHECKING:
    from argparse import Namespace

    from vllm.engine.protocol import EngineClient

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
    soft_prompt, salt = serving.worn(body.pop("soft_prompt", None))
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
        "cache_salt": salt,
        "kv_transfer_params": transfer_params(name, length),
    }
    try:
        return CompletionRequest.model_validate(dressed)
    except ValueError as error:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", str(error)[:500]) from None


__all__ = ["SoftPromptEndpoints"]
