"""VLLMEngine: submit / stream / score / cancel / close, answered by vLLM servers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

from pydantic import SecretStr

from langchain_softprompt.decode import TokenTree
from langchain_softprompt.engine import EngineLoad, FinishReason, Generation, Scoring, TokenStream
from langchain_softprompt.engine.checking import check_length, check_types, checked_continuations, checked_ids
from langchain_softprompt.engine.handle import Handle
from langchain_softprompt.errors import InvalidSettingsError, SoftPromptError
from langchain_softprompt.frozen_model import ModelOutline
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.constraints import Follower, lark_of
from langchain_softprompt.remote.loop import Loop
from langchain_softprompt.remote.options import Options
from langchain_softprompt.remote.scoring import score_tree
from langchain_softprompt.remote.servers import Servers
from langchain_softprompt.remote.work import Asking, Closing, generate, run
from langchain_softprompt.sampling import Constraint
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt

_LONGEST_EXIT_SECONDS = 5.0
_LONGEST_ASKING = 10.0
_Binding = tuple[str, str | None, str | None]


class VLLMEngine:
    """Serves one frozen model through vLLM servers, to any number of threads and event loops.

    Takes the place of the engine in this process: ``ChatSoftPrompt(model=..., engine=VLLMEngine("http://gpu-1:8000"))``. Chats
    are rendered and answers are read here; token ids travel. Making one reads nothing and asks nobody. The model's tokenizer and
    configuration are loaded at the first call, its weights never.

    Args:
        urls: Base URLs of the servers, all of one model.
        api_key: Their key; by default that in ``VLLM_API_KEY``. It is sent to these URLs alone.
        headers: Further headers of each request.
        served_model_name: What the servers call the model, where that is another name than its own.
        limits: `max_rows` is how many requests are put to the servers at a time, `max_queue` how many wait here.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the first token, and from one to the next; at most 10 of them for what a server says of itself.
        retries: How often a request is tried again that failed before its first token.
        verify: What servers' certificates are checked against: ``True`` for the usual authorities, or the file of your own.
        check_every: Seconds after which a server is asked again what it serves, as it is on each new connection.

    Raises:
        InvalidSettingsError: One of them is not of the form it should have.

    Attributes:
        picklable: Whether it can be sent to another process; this one only knows where its servers are.
    """

    picklable = True

    def __init__(
        self,
        *urls: str,
        api_key: str | SecretStr | None = None,
        headers: Mapping[str, str] | None = None,
        served_model_name: str | None = None,
        limits: EngineLimits | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 120.0,
        retries: int = 2,
        verify: bool | str | Path = True,
        check_every: float = 300.0,
    ) -> None:
        self._options = Options(
            urls=urls,
            api_key=cast("SecretStr | None", api_key),  # checked there
            headers=dict(headers or {}) if isinstance(headers, Mapping | None) else headers,
            served_model_name=served_model_name,
            limits=EngineLimits(max_rows=64) if limits is None else limits,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries=retries,
            verify=verify,
            check_every=check_every,
        )
        self._begin()

    def _begin(self) -> None:
        limits = self._options.limits
        self._binding: _Binding | None = None
        self._outline: ModelOutline | None = None
        self._servers: Servers | None = None
        self._knows = False
        self._guard = threading.Lock()
        closing = Closing()
        self._closing = closing
        self._loop = Loop(f"softprompt-servers {self._options.urls[0]}", limits.max_rows + limits.max_queue, closing)
        # Runs when the engine is dropped, and at interpreter exit.
        self._finalizer = weakref.finalize(self, self._loop.stop, _LONGEST_EXIT_SECONDS)

    @property
    def bound(self) -> bool:
        """Whether it was told which model it serves."""
        return self._outline is not None

    def for_model(self, model: str | Path, *, revision: str | None = None, gguf_file: str | None = None) -> Self:
        """Tell it which model it serves; tokenizer and configuration are loaded, once.

        Args:
            model: As `FrozenModel.load` takes it, as are the next two.
            revision: Branch, tag or commit.
            gguf_file: Name of a GGUF file.

        Returns:
            The engine itself.

        Raises:
            InvalidSettingsError: It serves another model already.
            FrozenModelError: The model can't be found or read.
        """
        binding = (_name(model), revision, gguf_file)
        with self._guard:
            if self._binding not in (None, binding):
                msg = (
                    f"This VLLMEngine serves {_told(self._binding)}, and {_told(binding)} was asked for. "
                    "Make one engine for each model, with the URLs of its servers."
                )
                raise InvalidSettingsError(msg)
            if self._outline is None:
                self._outline = ModelOutline.load(model, revision=revision, gguf_file=gguf_file)
                self._servers = Servers(self._options, self._outline)
                self._outline.ask = partial(_ask, weakref.ref(self))
                self._closing.close = self._servers.close
                self._binding = binding
        return self

    @property
    def model(self) -> ModelOutline:
        """What is known of the frozen model here."""
        if self._outline is None:
            msg = "This VLLMEngine was not told which model it serves. Give it to ChatSoftPrompt(model=..., engine=...), or call for_model."
            raise InvalidSettingsError(msg)
        return self._outline

    @property
    def limits(self) -> EngineLimits:
        """How many requests are put to the servers at a time, and how many wait."""
        return self._options.limits

    @property
    def closed(self) -> bool:
        """Whether it takes no more requests."""
        return self._loop.stopped

    @property
    def load(self) -> EngineLoad:
        """How many requests are under way, and how many of them are beyond what is put to the servers at a time."""
        count, rows = self._loop.under_way, self.limits.max_rows
        return EngineLoad(min(count, rows), max(0, count - rows))

    def submit(
        self,
        token_ids: Sequence[int],
        *,
        soft_prompt: SoftPrompt | None = None,
        settings: GenerationSettings | None = None,
        allow_other_model: bool = False,
        constraint: Constraint | None = None,
    ) -> Generation:
        """Put a request and return at once; arguments as of `Engine.submit`.

        Raises:
            RequestError: There are no tokens, or ids the model does not know, or an argument is of another type.
            ContextLengthError: Soft prompt, text and answer do not fit the model's context.
            InvalidGrammarError: The constraint can't be sent.
            EngineBusyError: Too many requests wait.
            EngineClosedError: The engine was closed, or belongs to a parent process.
        """
        model, servers, settings = self.model, self._pool(), settings or GenerationSettings()
        check_types(soft_prompt, settings)
        ids = checked_ids(model, token_ids)
        stop_ids = tuple(dict.fromkeys((*model.eos_token_ids, *settings.stop_token_ids)))
        grammar = lark_of(constraint) if constraint is not None else None
        asked = Asked(ids, settings, stop_ids, soft_prompt, allow_other_model, grammar)
        check_length(model, asked.virtual_tokens, len(ids), settings.max_new_tokens)
        follower = Follower(constraint, stop_ids, model.vocab_size)
        generation = Generation(prompt_tokens=len(ids), virtual_tokens=asked.virtual_tokens)
        self._start(generation, partial(generate, servers, asked, follower, generation))
        return generation

    def score(
        self,
        token_ids: Sequence[int],
        continuations: Iterable[Sequence[int]],
        *,
        soft_prompt: SoftPrompt | None = None,
        allow_other_model: bool = False,
    ) -> Scoring:
        """Ask for the log-probabilities of given continuations of a prompt, and return at once; arguments as of `Engine.score`.

        Each token of each continuation is one short request; what continuations share is asked for once.

        Raises:
            RequestError: There are no tokens or no continuations, one is empty, or there are ids the model does not know.
            ContextLengthError: Soft prompt, text and the longest continuation do not fit the model's context.
            EngineBusyError: Too many requests wait.
            EngineClosedError: The engine was closed, or belongs to a parent process.
        """
        model, servers = self.model, self._pool()
        check_types(soft_prompt, GenerationSettings())
        ids, tree = checked_ids(model, token_ids), TokenTree(checked_continuations(model, continuations))
        scoring = Scoring(prompt_tokens=len(ids), virtual_tokens=soft_prompt.num_virtual_tokens if soft_prompt is not None else 0)
        check_length(model, scoring.virtual_tokens, len(ids), tree.longest, "tokens of the longest continuation")

        async def work() -> FinishReason:
            log_probs, scoring.cached_tokens = await score_tree(servers.ask, ids, tree, soft_prompt, allow_other_model=allow_other_model)
            scoring.complete(tree.by_continuation(log_probs))
            return "stop"

        self._start(scoring, work)
        return scoring

    def stream(
        self,
        token_ids: Sequence[int],
        *,
        soft_prompt: SoftPrompt | None = None,
        settings: GenerationSettings | None = None,
        allow_other_model: bool = False,
        constraint: Constraint | None = None,
    ) -> TokenStream:
        """Put a request and return an iterator over its tokens; closing or dropping the iterator cancels it.

        Arguments and errors are those of `submit`.
        """
        return TokenStream(
            self.submit(token_ids, soft_prompt=soft_prompt, settings=settings, allow_other_model=allow_other_model, constraint=constraint)
        )

    def cancel(self, generation: Generation | Scoring) -> None:
        """End a request; nothing happens when it has ended."""
        generation.cancel()

    def close(self) -> None:
        """Cancel everything, refuse further requests and close all connections. The servers stay as they are."""
        self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"VLLMEngine({', '.join(map(repr, self._options.urls))}{', closed' if self.closed else ''})"

    def __getstate__(self) -> dict[str, Any]:
        """Where the servers are. An API key that was given goes along; one in the environment does not."""
        return {field.name: getattr(self._options, field.name) for field in fields(self._options)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._options = Options(**state)
        self._begin()

    def _pool(self) -> Servers:
        if self._servers is None:
            msg = "This VLLMEngine was not told which model it serves."
            raise InvalidSettingsError(msg)
        return self._servers

    def _start(self, handle: Handle[Any], work: Callable[[], Coroutine[Any, Any, FinishReason]]) -> None:
        handle.on_cancel = partial(self._withdraw, handle)  # holds the engine for as long as somebody waits
        self._loop.begin(handle, partial(run, handle, work))

    def _know(self) -> None:
        """Let a server say what it serves, so that the outline knows; what goes wrong is told when a request is put."""
        if not self._knows:
            servers, asking = self._pool(), Asking(prompt_tokens=0, virtual_tokens=0)

            async def work() -> FinishReason:
                await servers.know()
                return "stop"

            with suppress(SoftPromptError, TimeoutError):
                self._start(asking, work)
                asking.result(self._options.connect_timeout + _LONGEST_ASKING)
                self._knows = True

    def _withdraw(self, handle: Handle[Any]) -> None:
        self._loop.cancel(handle)


def _ask(engine: weakref.ref[VLLMEngine]) -> None:
    """For the engine's outline, which must not hold it."""
    held = engine()
    if held is not None:
        held._know()  # noqa: SLF001 - one of us


def _name(model: str | Path) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else str(model)


def _told(binding: _Binding | None) -> str:
    return " ".join(part for part in binding or () if part)


__all__ = ["VLLMEngine"]
