"""Everything this package raises on purpose.

The whole tree::

    SoftPromptError
    ├── InvalidReferenceError        a soft-prompt or model reference that can't be read
    ├── InvalidSettingsError         a setting outside its allowed range
    ├── SoftPromptChoiceError        which soft prompt is meant can't be told: none is named, or two are
    ├── SoftPromptNotFoundError      no such folder, repository, revision or subfolder
    ├── HubError                     the Hugging Face Hub, or its cache on this machine, did not do what was asked
    │   ├── HubAccessError               gated, private or disabled (a SoftPromptNotFoundError, too)
    │   ├── HubUnreachableError          offline or down, and not in the cache (a SoftPromptNotFoundError, too)
    │   │   └── HubRateLimitError            asked too often
    │   └── PublishConflictError         the repository moved on while something was published to it
    ├── UntrustedSoftPromptError     refused by your own rules: its organisation, or what the Hub's scanners say of it
    ├── LockFileError                soft-prompts.lock can't be read or written, or does not hold what is asked for
    ├── InvalidSoftPromptError       a folder or file that is not a well-formed soft prompt
    │   ├── UnsupportedSoftPromptError   a PEFT type, task type or file format that is no static prefix
    │   ├── UnsafeFileError              pickle, a path that leaves the folder, not a regular file
    │   └── NonFiniteSoftPromptError     NaN or Inf, as stored, after the cast, or once compiled
    ├── ModelMismatchError           a soft prompt that was made for another frozen model
    ├── FrozenModelError             the frozen model can't be loaded or can't be served
    │   └── ModelUnavailableError        not on this machine and not to be had from the Hub
    ├── ChatTemplateError            messages the model's chat template can't render
    ├── TrainingDataError            a line of training data that can't be used
    ├── RunFolderError               a run folder that can't be written, or can't be resumed from
    ├── EvaluationError              an evaluation that can't be made as asked
    ├── InvalidGrammarError          a schema, pattern or grammar that answers can't be held to
    ├── RequestError                 one request failed; the engine goes on
    │   ├── ContextLengthError           prompt and answer do not fit the model's context
    │   ├── AnswerFormatError            an answer cut off, or not of the form it was to have
    │   ├── RequestCancelledError        cancelled by the caller
    │   └── RequestFailedError           the model raised while serving this request
    ├── EngineError
    │   ├── EngineBusyError              the bounded queue is full
    │   ├── EngineClosedError            the engine was closed
    │   └── ServerError                  a server that answers for the engine did not do what was asked
    │       ├── ServerUnreachableError       down, refused, timed out, or no such host
    │       ├── ServerMismatchError          it serves another model, lacks the plug-in, or does not have the soft prompt
    │       └── ServerRefusedError           it finds the request wrong
    │           └── ServerAccessError            it does not let you in
    └── MissingExtraError            an optional dependency is not installed
"""

from __future__ import annotations


class SoftPromptError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidReferenceError(SoftPromptError, ValueError):
    """A soft-prompt or model reference that can't be read."""


class InvalidSettingsError(SoftPromptError, ValueError):
    """A setting outside its allowed range."""


class SoftPromptChoiceError(SoftPromptError, ValueError):
    """Which soft prompt is meant can't be told: none is named, or two are."""


class SoftPromptNotFoundError(SoftPromptError, FileNotFoundError):
    """No such folder, repository, revision or subfolder."""


class HubError(SoftPromptError):
    """The Hugging Face Hub did not do what was asked, or its cache on this machine can't be read or written."""


class HubAccessError(HubError, SoftPromptNotFoundError):
    """A repository that is there and not for you: gated, private or disabled."""


class HubUnreachableError(HubError, SoftPromptNotFoundError):
    """The Hub is offline, down or out of reach, and the cache does not hold what is asked for."""


class HubRateLimitError(HubUnreachableError):
    """The Hub was asked too often."""


class PublishConflictError(HubError):
    """The repository moved on while something was published to it; nothing was published."""


class UntrustedSoftPromptError(SoftPromptError, PermissionError):
    """A soft prompt refused by rules of your own: its organisation, or what the Hub's scanners say of it."""


class LockFileError(SoftPromptError, ValueError):
    """``soft-prompts.lock`` can't be read or written, or does not hold what is asked for, or a folder stands before a locked name."""


class InvalidSoftPromptError(SoftPromptError, ValueError):
    """A folder, or a file to convert, that is not a well-formed soft prompt.

    Attributes:
        file: The file at fault, relative to the soft prompt's folder.
        field: The configuration field, tensor or property at fault.
        expected: What would have been accepted.
        found: What was there instead.
    """

    def __init__(self, *, file: str, field: str, expected: str, found: str, hint: str = "") -> None:
        self.file = file
        self.field = field
        self.expected = expected
        self.found = found
        self.hint = hint
        message = f"{file}: {field}: expected {expected}, found {found}."
        super().__init__(f"{message} {hint}".rstrip())


class UnsupportedSoftPromptError(InvalidSoftPromptError):
    """A PEFT type, task type or file format that does not reduce to a static prefix of a language model."""


class UnsafeFileError(InvalidSoftPromptError):
    """A pickle, a path that leaves the folder, or something that is not a regular file."""


class NonFiniteSoftPromptError(InvalidSoftPromptError):
    """NaN or Inf in a soft prompt: as stored, after the cast to the model's dtype, or once compiled."""


class ModelMismatchError(SoftPromptError, ValueError):
    """A soft prompt that was made for another frozen model.

    Attributes:
        expected: Fingerprint or shape the soft prompt was made for.
        found: Fingerprint or shape of the frozen model at hand.
    """

    def __init__(self, message: str, *, expected: str, found: str) -> None:
        self.expected = expected
        self.found = found
        super().__init__(message)


class FrozenModelError(SoftPromptError):
    """The frozen model can't be loaded or can't be served."""


class ModelUnavailableError(FrozenModelError, FileNotFoundError):
    """The model is not on this machine and can't be had from the Hub."""


class ChatTemplateError(SoftPromptError, ValueError):
    """Messages that the model's chat template can't render."""


class TrainingDataError(SoftPromptError, ValueError):
    """A line of training data that can't be used.

    Attributes:
        file: The data file.
        line: The line number, from 1; ``None`` when the whole file is at fault.
    """

    def __init__(self, file: str, line: int | None, problem: str) -> None:
        self.file = file
        self.line = line
        place = file if line is None else f"{file}, line {line}"
        super().__init__(f"{place}: {problem}")


class RunFolderError(SoftPromptError):
    """A run folder that can't be written, or that a run can't be resumed from."""


class EvaluationError(SoftPromptError, ValueError):
    """An evaluation that can't be made as asked: an unknown metric, or one that does not fit the data."""


class InvalidGrammarError(SoftPromptError, ValueError):
    """A JSON schema, pattern or grammar that answers can't be held to; the message names the part at fault."""


class RequestError(SoftPromptError):
    """One request failed; the engine goes on."""


class ContextLengthError(RequestError, ValueError):
    """Prompt and answer do not fit the model's context window."""


class AnswerFormatError(RequestError, ValueError):
    """An answer that is not of the form it was to have: the token limit or a stop string cut it, or it does not fit its schema.

    Attributes:
        text: What the model wrote.
        reason: ``"length"``, ``"stop_sequence"``, ``"schema"`` or ``"tool_calls"``.
    """

    def __init__(self, message: str, *, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(message)


class RequestCancelledError(RequestError):
    """The request was cancelled by its caller."""


class RequestFailedError(RequestError):
    """The model raised while serving this request; the cause is chained."""


class EngineError(SoftPromptError):
    """The engine as a whole can't take the request."""


class EngineBusyError(EngineError):
    """The engine's bounded queue is full; try again later or raise the limit."""


class EngineClosedError(EngineError):
    """The engine was closed."""


class ServerError(EngineError):
    """A server that answers for the engine did not do what was asked."""


class ServerUnreachableError(ServerError, ConnectionError):
    """No server can be reached: down, refused, timed out, or no such host."""


class ServerMismatchError(ServerError):
    """A server that serves another model, lacks our plug-in, does not have the soft prompt, or reads it as something else."""


class ServerRefusedError(ServerError):
    """A server that finds the request wrong."""


class ServerAccessError(ServerRefusedError):
    """A server that does not let you in: the API key is missing or wrong."""


class MissingExtraError(SoftPromptError, ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""
