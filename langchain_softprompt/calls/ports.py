"""What the chat model asks of an engine: met by `engine.Engine`, by `remote.VLLMEngine` and by the fake one in `testing`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

if TYPE_CHECKING:
    from langchain_softprompt.sampling import Constraint, TokenLogprob
    from langchain_softprompt.settings import GenerationSettings
    from langchain_softprompt.soft_prompt import SoftPrompt


class ModelPort(Protocol):
    """The frozen model, as far as a chat needs it."""

    @property
    def name(self) -> str:
        """What the model is called."""
        ...

    @property
    def revision(self) -> str | None:
        """Commit on the Hub."""
        ...

    @property
    def fingerprint(self) -> str:
        """What identifies its weights."""
        ...

    @property
    def max_positions(self) -> int | None:
        """Context window in tokens."""
        ...

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        ...

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        ...


class ResultPort(Protocol):
    """How a request ended."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The answer, without the token that ended it."""
        ...

    @property
    def finish_reason(self) -> str:
        """``"stop"``, ``"length"`` or ``"cancelled"``."""
        ...

    @property
    def cached_tokens(self) -> int:
        """Virtual tokens whose keys and values were already there."""
        ...


class HandlePort(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Give the request up; nothing happens when it has ended."""
        ...


class GenerationPort(HandlePort, Protocol):
    """A request for an answer under way."""

    def __iter__(self) -> Iterator[int]: ...

    def __aiter__(self) -> AsyncIterator[int]: ...

    def result(self, timeout: float | None = None) -> ResultPort:
        """Wait for the end."""
        ...

    async def wait(self) -> ResultPort:
        """Wait for the end without blocking the event loop."""
        ...

    def logprob(self, position: int) -> TokenLogprob | None:
        """Of a token of the answer, by its position; ``None`` where the settings do not ask for it."""
        ...


class ScoringResultPort(Protocol):
    """How likely the model finds each continuation."""

    @property
    def totals(self) -> tuple[float, ...]:
        """Natural-log probabilities, in the given order."""
        ...

    @property
    def cached_tokens(self) -> int:
        """Virtual tokens and tokens of text whose keys and values were already there."""
        ...


class ScoringPort(HandlePort, Protocol):
    """A request for scores under way."""

    def result(self, timeout: float | None = None) -> ScoringResultPort:
        """Wait for the end."""
        ...

    async def wait(self) -> ScoringResultPort:
        """Wait for the end without blocking the event loop."""
        ...


class EnginePort(Protocol):
    """Takes token ids and gives token ids."""

    @property
    def model(self) -> ModelPort:
        """The frozen model it serves."""
        ...

    def submit(
        self,
        token_ids: Sequence[int],
        *,
        soft_prompt: SoftPrompt | None = None,
        settings: GenerationSettings | None = None,
        allow_other_model: bool = False,
        constraint: Constraint | None = None,
    ) -> GenerationPort:
        """Start a request; returns at once."""
        ...

    def score(
        self,
        token_ids: Sequence[int],
        continuations: Iterable[Sequence[int]],
        *,
        soft_prompt: SoftPrompt | None = None,
        allow_other_model: bool = False,
    ) -> ScoringPort:
        """Start a request for the log-probabilities of given continuations; returns at once."""
        ...


class BindablePort(EnginePort, Protocol):
    """An engine that is made without a model, and told at the first call which one it serves.

    Attributes:
        bound: Whether it was told.
    """

    bound: bool

    def for_model(self, model: str | Path, *, revision: str | None = None, gguf_file: str | None = None) -> EnginePort:
        """The engine, serving that model from now on."""
        ...


def is_bindable(engine: object) -> TypeGuard[BindablePort]:
    """Whether an engine has to be told which model it serves; nothing of it is asked that it might have to load."""
    return hasattr(type(engine), "for_model")
