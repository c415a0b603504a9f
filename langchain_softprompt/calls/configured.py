"""The fields of a model of ours, how they are checked, and what one call settles on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from pydantic import BaseModel, Field, SecretStr, SkipValidation, model_validator
from typing_extensions import override

from langchain_softprompt.calls.arguments import (
    ALIASES,
    SETTING_NAMES,
    SoftPromptChoice,
    check_choice,
    check_known,
    check_stop,
    check_timeout,
    top_logprobs,
    with_full_names,
)
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.calls.shelf import SHELF
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.settings import EngineLimits, GenerationSettings, check_quantization

if TYPE_CHECKING:
    from langchain_softprompt.calls.ports import EnginePort
    from langchain_softprompt.soft_prompt import SoftPrompt

    _Engine: TypeAlias = EnginePort | None
else:  # a protocol is nothing pydantic could check
    _Engine = Any


class AutoProfile(dict[str, Any]):
    """A profile we worked out ourselves, so that a copy with another soft prompt works it out again."""


class Configured(BaseModel):
    """The fields of `ChatSoftPrompt` and `SoftPromptLLM`, beside those that LangChain gives every model."""

    model: str | Path
    """The frozen model, as ``"embedded"``, a folder, a ``.gguf`` file or a Hub id. Also taken as ``model_name``."""

    revision: str | None = None
    """Branch, tag or commit of a Hub model; a commit is the safe choice."""

    gguf_file: str | None = None
    """Name of a GGUF file inside the model's folder or repository."""

    dtype: str = "auto"
    """Type of the weights in memory, one of ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``."""

    device: str = "auto"
    """Where the weights go, ``"auto"`` or a torch device."""

    quantization: str | None = None
    """``"int8"`` computes in eight bits on the CPU, several times quicker and with slightly different answers."""

    soft_prompt: SoftPromptChoice = None
    """The soft prompt, as ``"org/name@revision#subfolder"`` on the Hub, a folder, or a loaded `SoftPrompt`.

    ``None`` is the bare frozen model. Text that reads as a Hub name (``"runs/mood"``) means the local folder of that
    path where that folder holds an ``adapter_config.json``, as in transformers. It is loaded at the first call. A Hub
    name without a commit is resolved once and stays with that commit for the life of the process; a local folder is
    read again when its files have changed.
    """

    allow_other_model: bool = False
    """Take a soft prompt that was made for another model, as long as its shapes fit."""

    temperature: float = 0.0
    """0 is greedy, the default; above 0 samples."""

    max_tokens: int = 256
    """Most tokens of an answer. Also taken as ``max_new_tokens``."""

    top_k: int | None = None
    """Sample from the k likeliest tokens only."""

    top_p: float = 1.0
    """Sample from the smallest set of tokens that holds this share of the probability."""

    min_p: float = 0.0
    """Sample from the tokens that are at least this share as likely as the likeliest."""

    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were already seen less likely."""

    seed: int | None = None
    """Makes sampling repeatable."""

    logprobs: bool | None = None
    """Tell the log-probability of each token of an answer, in ``response_metadata["logprobs"]``, as OpenAI does.

    They are the model's own: before penalty, temperature and filters."""

    top_logprobs: int | None = None
    """Tell so many of the likeliest tokens at each place too; implies `logprobs`."""

    stop: list[str] | None = None
    """Strings that end an answer, not part of it. A call's own ``stop`` takes their place."""

    timeout: float | None = None
    """Most seconds for one answer, loading not counted; then the request is cancelled and `RequestTimeoutError` raised."""

    engine: SkipValidation[_Engine] = Field(default=None, exclude=True, repr=False)
    """An engine to use in place of the process-wide one of `model`: a `VLLMEngine`, one to share, or a fake one in tests."""

    engine_limits: SkipValidation[EngineLimits | None] = Field(default=None, repr=False)
    """How much the process-wide engine may hold; has no effect with `engine`."""

    streaming: bool | None = None
    """LangChain's own switch. True makes `invoke` stream inside, False makes `stream` answer in one chunk."""

    max_retries: int | None = None
    """Accepted for LangChain's sake; has no effect, as nothing on this machine gets better by trying again. A `VLLMEngine` has
    its own ``retries``."""

    api_key: SecretStr | None = Field(default=None, exclude=True)
    """Accepted for LangChain's sake; has no effect, as nothing leaves this machine. A `VLLMEngine` has its own."""

    if not TYPE_CHECKING:  # type checkers know the fields; this __init__ is for our own errors and would hide them

        def __init__(self, **kwargs: Any) -> None:
            check_known(kwargs, [*type(self).model_fields, *ALIASES], type(self).__name__)
            given = with_full_names(kwargs)
            for name in ("temperature", "top_p", "min_p", "repetition_penalty", "max_tokens"):
                if name in given and given[name] is None:
                    del given[name]  # LangChain's word for "the default"
            if isinstance(given.get("profile"), AutoProfile):
                del given["profile"]
            super().__init__(**given)
            self._check()

    @model_validator(mode="after")
    def _set_softprompt_version(self) -> Self:
        self._add_version("langchain-softprompt", _version())  # type: ignore[attr-defined]
        return self

    @property
    def model_name(self) -> str:
        """The frozen model's name as given."""
        return str(self.model)

    def _check(self) -> None:
        """What can be checked without reading a file."""
        check_choice(self.soft_prompt)
        self._settings({})
        check_quantization(self.quantization)
        check_stop(self.stop)
        check_timeout(self.timeout)

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, checked as at construction; it shares the engine."""
        check_known(update or {}, type(self).model_fields, f"{type(self).__name__}.model_copy")
        copied = super().model_copy(update=update, deep=deep)
        copied._check()  # noqa: SLF001 - one of us
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy of its own that shares the engine and the soft prompt, which nobody changes."""
        memo = {} if memo is None else memo
        memo.update({id(value): value for value in (self.engine, self.soft_prompt) if value is not None})
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled.

        Raises:
            InvalidSettingsError: It has an engine of its own, which lives in this process alone. One that only knows where its
                servers are goes along.
        """
        if self.engine is not None and not getattr(self.engine, "picklable", False):
            msg = (
                f"A {type(self).__name__} with engine=... can't be pickled: the engine holds the weights and threads of this process. "
                "Name the model instead, and each process loads its own."
            )
            raise InvalidSettingsError(msg)
        return super().__getstate__()

    def with_soft_prompt(self, soft_prompt: SoftPromptChoice) -> Self:
        """The same model with another soft prompt, or with none.

        Returns:
            A real model of its own. It shares this one's engine, so no weights are loaded again.
        """
        return self.model_copy(update={"soft_prompt": soft_prompt})

    # What one call settles on.

    def _settings(self, arguments: Mapping[str, Any]) -> GenerationSettings:
        given = with_full_names(arguments)
        chosen = {name: getattr(self, name) if given.get(name) is None else given[name] for name in SETTING_NAMES}
        top = top_logprobs(given.get("logprobs"), given.get("top_logprobs"), (self.logprobs, self.top_logprobs))
        return GenerationSettings(max_new_tokens=chosen.pop("max_tokens"), top_logprobs=top, **chosen)

    def _stop(self, stop: list[str] | str | None) -> tuple[str, ...]:
        return check_stop(self.stop if stop is None else stop)

    def _timeout(self, arguments: Mapping[str, Any]) -> float | None:
        given = arguments.get("timeout")
        return check_timeout(self.timeout if given is None else given)

    def _choice(self, arguments: Mapping[str, Any]) -> SoftPromptChoice:
        """What the call says, else what the model says; ``None`` said in a call is the bare model."""
        return check_choice(arguments.get("soft_prompt", self.soft_prompt))

    def _soft_prompt(self, arguments: Mapping[str, Any]) -> SoftPrompt | None:
        """The soft prompt itself, loaded if need be."""
        with in_langchain_family():
            choice = self._choice(arguments)
            return SHELF.get(choice) if isinstance(choice, str | Path) else choice


@lru_cache(maxsize=1)
def _version() -> str:
    from langchain_softprompt import __version__

    return __version__
