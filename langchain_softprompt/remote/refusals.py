"""What a server refuses, as errors of ours; and which of it is worth a second try."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any

from langchain_softprompt.errors import (
    ContextLengthError,
    EngineBusyError,
    ModelMismatchError,
    NonFiniteSoftPromptError,
    RequestFailedError,
    ServerAccessError,
    ServerMismatchError,
    ServerRefusedError,
    ServerUnreachableError,
    SoftPromptError,
)
from langchain_softprompt.hub.local import TENSOR_FILE
from langchain_softprompt.printable import printable
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.events import read_json
from langchain_softprompt.remote.identity import SERVE_COMMAND, Served
from langchain_softprompt.remote.options import KEY_VARIABLE
from langchain_softprompt.soft_prompt.peft_format import EMBEDDINGS
from langchain_softprompt.vllm_plugin.names import COMPLETIONS_ROUTE

_CONTEXT = ("context length", "max_model_len", "maximum model length")
_LONGEST_WORDS = 500


class TryAgainError(Exception):
    """Something that may go better elsewhere, or later.

    Attributes:
        error: What to raise when it does not.
        wait: Seconds that the server asks to be left alone for; ``None`` where it says nothing.
    """

    def __init__(self, error: SoftPromptError, *, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


def refusal(
    status: int, body: bytes, headers: Mapping[str, str], *, path: str, asked: Asked | None, served: Served | None
) -> SoftPromptError | TryAgainError:
    """What a status other than 200 means.

    Args:
        status: The status.
        body: What came with it.
        headers: Its headers.
        path: What was asked.
        asked: The request; ``None`` where the server was asked about itself.
        served: What the server serves, if that is known.
    """
    if 300 <= status < 400:
        to = printable(headers.get("location", "elsewhere"))
        return ServerRefusedError(f"It redirects to {to}, and redirects are not followed. Give the address that it leads to.")
    return _meaning(status, _error_of(body), headers, path=path, asked=asked, served=served)


def refusal_within(error: Any, *, path: str, asked: Asked, served: Served) -> SoftPromptError | TryAgainError:
    """What an error that comes as an event of a stream means; vLLM checks most of a request after it has answered 200."""
    told = error if isinstance(error, dict) else {"message": error}
    code = told.get("code")
    return _meaning(code if type(code) is int else 500, told, {}, path=path, asked=asked, served=served)


def _meaning(
    status: int, told: Mapping[str, Any], headers: Mapping[str, str], *, path: str, asked: Asked | None, served: Served | None
) -> SoftPromptError | TryAgainError:
    words = printable(told.get("message") or "nothing", _LONGEST_WORDS)
    if status in (401, 403):
        return ServerAccessError(f"It does not let you in ({status}). Give its key: VLLMEngine(..., api_key=...), or set {KEY_VARIABLE}.")
    if status == 501:
        return ServerMismatchError(f"It was not started for this: {words}")
    if status in (408, 425, 429, 502, 503, 504):
        return TryAgainError(EngineBusyError(f"It is busy ({status}: {words}). Try again later."), wait=_wait(headers))
    if status >= 500:
        return TryAgainError(RequestFailedError(f"It failed while serving this request ({status}: {words})."))
    if asked is not None:
        error = _about_soft_prompt(status, told, path, asked, served)
        if error is not None:
            return error
    if status == 404 and told.get("param") == "model":
        return ServerMismatchError(f"It does not serve the model any more ({words}).")
    if status == 400 and any(word in words for word in _CONTEXT):
        return ContextLengthError(f"The server has no room for the request: {words} Lower max_tokens, or shorten the text.")
    return ServerRefusedError(f"It refuses the request ({status}): {words}")


def _about_soft_prompt(status: int, told: Mapping[str, Any], path: str, asked: Asked, served: Served | None) -> SoftPromptError | None:
    soft_prompt = asked.soft_prompt
    if path != COMPLETIONS_ROUTE or soft_prompt is None:
        return None
    name = f"{printable(soft_prompt.source)} ({soft_prompt.content_hash[:12]})"
    if status == 404 and told.get("type") == "SoftPromptNotFound":
        return ServerMismatchError(f"It does not have the soft prompt {name}. Put its folder where the server looks for soft prompts.")
    if status in (404, 405) and "type" not in told:
        msg = f"It lacks the plug-in for soft prompts made of keys and values. Start it with the line that `{SERVE_COMMAND}` prints."
        return ServerMismatchError(msg)
    if told.get("type") == "NonFiniteSoftPrompt":
        found = printable(told.get("message") or "others")
        return NonFiniteSoftPromptError(file=TENSOR_FILE, field=EMBEDDINGS, expected="numbers that fit the server's dtype", found=found)
    if status == 409 and asked.allow_other_model:  # Then it is not about the soft prompt.
        return ServerMismatchError(f"It serves another model than was asked for: {printable(told.get('message') or '', _LONGEST_WORDS)}")
    if status == 409:
        made_for = soft_prompt.manifest.base_model.fingerprint if soft_prompt.manifest is not None else "another model"
        found = (served.fingerprint if served is not None else None) or "unknown"
        words = printable(told.get("message") or "", _LONGEST_WORDS)
        msg = f"The soft prompt {name} was made for another model than it serves: {words} To try it all the same: allow_other_model=True."
        return ModelMismatchError(msg, expected=made_for, found=found)
    return None


def unreachable(error: Exception) -> TryAgainError:
    """What a connection that can't be made, or that breaks, means."""
    what = str(error).strip() or type(error).__name__
    return TryAgainError(ServerUnreachableError(f"It can't be reached ({printable(what)}). Check that it runs, and the address."))


def silent(seconds: float) -> TryAgainError:
    """What it means that nothing comes."""
    return TryAgainError(ServerUnreachableError(f"It has sent nothing for {seconds:g} seconds. Check it, or raise read_timeout."))


def _error_of(body: bytes) -> Mapping[str, Any]:
    """In vLLM's own form, FastAPI's, or that of whatever stood in between."""
    try:
        told = read_json(body)
    except RequestFailedError:
        return {"message": body.decode(errors="replace").strip()}
    error = told.get("error", told.get("detail"))
    return error if isinstance(error, dict) else {"message": error}


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, which may name a moment."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


__all__ = ["TryAgainError", "refusal", "refusal_within", "silent", "unreachable"]
