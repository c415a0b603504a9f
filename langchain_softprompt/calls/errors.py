"""Our errors as members of LangChain's error family too, so that its middleware and retries know what to do with them.

SoftPromptError                    also raised as LangChain's
├── ContextLengthError             ContextOverflowError
├── SoftPromptNotFoundError        ModelNotFoundError
├── ModelUnavailableError          ModelNotFoundError
├── InvalidSoftPromptError         ModelInvalidRequestError
├── ModelMismatchError             ModelInvalidRequestError
├── ChatTemplateError              ModelInvalidRequestError
├── InvalidReferenceError          ModelInvalidRequestError
├── InvalidSettingsError           ModelInvalidRequestError
├── SoftPromptChoiceError          ModelInvalidRequestError
├── InvalidGrammarError            ModelInvalidRequestError
├── EngineBusyError                ModelRateLimitError (may be retried)
├── ServerUnreachableError         ModelConnectionError (may be retried)
├── ServerMismatchError            ModelInvalidRequestError
├── ServerAccessError              ModelAuthenticationError
├── ServerRefusedError             ModelInvalidRequestError
├── RequestFailedError             ModelAPIError (may be retried)
├── RequestTimeoutError            ModelTimeoutError (may be retried), TimeoutError
└── UnknownArgumentError           TypeError
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from langchain_softprompt.errors import (
    ChatTemplateError,
    ContextLengthError,
    EngineBusyError,
    InvalidGrammarError,
    InvalidReferenceError,
    InvalidSettingsError,
    InvalidSoftPromptError,
    ModelMismatchError,
    ModelUnavailableError,
    RequestError,
    RequestFailedError,
    ServerAccessError,
    ServerMismatchError,
    ServerRefusedError,
    ServerUnreachableError,
    SoftPromptChoiceError,
    SoftPromptError,
    SoftPromptNotFoundError,
)


class UnknownArgumentError(InvalidSettingsError, TypeError):
    """An argument this model does not know; the message names the nearest one it knows."""


class RequestTimeoutError(RequestError, ModelTimeoutError, TimeoutError):
    """The answer was not finished in time; the request was cancelled."""


_FAMILY: dict[type[SoftPromptError], type[ModelError]] = {
    ContextLengthError: ContextOverflowError,
    SoftPromptNotFoundError: ModelNotFoundError,
    ModelUnavailableError: ModelNotFoundError,
    InvalidSoftPromptError: ModelInvalidRequestError,
    ModelMismatchError: ModelInvalidRequestError,
    ChatTemplateError: ModelInvalidRequestError,
    InvalidReferenceError: ModelInvalidRequestError,
    InvalidSettingsError: ModelInvalidRequestError,
    SoftPromptChoiceError: ModelInvalidRequestError,
    InvalidGrammarError: ModelInvalidRequestError,
    EngineBusyError: ModelRateLimitError,
    ServerUnreachableError: ModelConnectionError,
    ServerMismatchError: ModelInvalidRequestError,
    ServerAccessError: ModelAuthenticationError,
    ServerRefusedError: ModelInvalidRequestError,
    RequestFailedError: ModelAPIError,
}
_TWINS: dict[tuple[type[SoftPromptError], type[ModelError]], type[SoftPromptError]] = {}


@contextmanager
def in_langchain_family() -> Iterator[None]:
    """Raise our errors so that ``except`` of ours and ``except`` of LangChain's both catch them."""
    try:
        yield
    except SoftPromptError as error:
        family = next((family for ours, family in _FAMILY.items() if isinstance(error, ours)), None)
        if family is None or isinstance(error, family):
            raise
        raise _twin(error, family) from error


def _twin(error: SoftPromptError, family: type[ModelError]) -> SoftPromptError:
    kind = _both(type(error), family)
    twin = kind.__new__(kind, *error.args)  # not __init__: some of ours build their message from named parts
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin


def _both(ours: type[SoftPromptError], family: type[ModelError]) -> type[SoftPromptError]:
    if (ours, family) in _TWINS:  # one class for all, so that `type(error)` can be compared
        return _TWINS[ours, family]
    members = {"__module__": ours.__module__, "__qualname__": ours.__qualname__, "__doc__": ours.__doc__}
    return _TWINS.setdefault((ours, family), type(ours.__name__, (ours, family), members))
