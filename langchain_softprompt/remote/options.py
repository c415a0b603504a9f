"""Options: where the servers are, and how patiently they are asked."""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pydantic import SecretStr

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.settings import EngineLimits

KEY_VARIABLE = "VLLM_API_KEY"
# What is ours to say, whatever the user says.
_OUR_HEADERS = {"accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Options:
    """How servers are asked; see `VLLMEngine`, whose arguments these are."""

    urls: tuple[str, ...]
    api_key: SecretStr | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    served_model_name: str | None = None
    limits: EngineLimits = field(default_factory=lambda: EngineLimits(max_rows=64))
    connect_timeout: float = 5.0
    read_timeout: float = 120.0
    retries: int = 2
    verify: bool | str | Path = True
    check_every: float = 300.0

    def __post_init__(self) -> None:
        if not self.urls:
            _refuse("urls", "at least one base URL, as 'http://gpu-1:8000'", "none")
        object.__setattr__(self, "urls", tuple(dict.fromkeys(_base_url(url) for url in self.urls)))
        if isinstance(self.api_key, str):
            object.__setattr__(self, "api_key", SecretStr(self.api_key))
        if self.api_key is not None and not (isinstance(self.api_key, SecretStr) and _is_printable(self.api_key.get_secret_value())):
            _refuse("api_key", "text of printable ASCII", "something else")
        if not isinstance(self.limits, EngineLimits):
            _refuse("limits", "EngineLimits", type(self.limits).__name__)
        for name in ("connect_timeout", "read_timeout", "check_every"):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                _refuse(name, "seconds above 0", repr(value))
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            _refuse("retries", "an integer of at least 0", repr(self.retries))
        if not isinstance(self.verify, bool) and not Path(self.verify).is_file():
            _refuse("verify", "True, False or the file of a certificate authority", repr(str(self.verify)))
        _check_headers(self.headers)

    def key(self) -> str | None:
        """The API key: the given one, or that in the environment.

        Raises:
            InvalidSettingsError: That in the environment can be none.
        """
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not _is_printable(key):
            _refuse(KEY_VARIABLE, "text of printable ASCII", "something else")
        return key or None

    def tls(self) -> ssl.SSLContext | bool:
        """What connections are checked against."""
        return self.verify if isinstance(self.verify, bool) else ssl.create_default_context(cafile=str(self.verify))

    def hidden(self, text: str) -> str:
        """A text without the secrets: a server may write back what it was sent."""
        for secret in (self.key(), *self.headers.values()):
            if secret and len(secret) > 3:
                text = text.replace(secret, "***")
        return text


def _base_url(url: Any) -> str:
    if not isinstance(url, str):
        _refuse("urls", "texts such as 'http://gpu-1:8000'", type(url).__name__)
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        _refuse("urls", "a base URL such as 'http://gpu-1:8000'", "text that is none")
    if parts.username is not None or parts.password is not None:
        # Not repeated, as it would be a secret in a message.
        _refuse("urls", "a URL without user and password (use api_key or headers)", f"both in the one of {parts.hostname}")
    if not is_one or parts.query or parts.fragment or not _is_printable(url) or " " in url:
        _refuse("urls", "a base URL such as 'http://gpu-1:8000'", repr(url[:200]))
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, Mapping) or not all(isinstance(part, str) for pair in headers.items() for part in pair):
        _refuse("headers", "a dictionary from text to text", type(headers).__name__)
    for name, value in headers.items():
        if name.lower() in _OUR_HEADERS:
            _refuse("headers", "none that is set here already (for authorization, use api_key)", repr(name))
        if not name or not _is_printable(name) or not _is_printable(value):
            _refuse("headers", "names and values of printable ASCII", f"something else under {name!r}")


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _refuse(name: str, expected: str, found: str) -> NoReturn:
    msg = f"{name}: expected {expected}, found {found}."
    raise InvalidSettingsError(msg)


__all__ = ["KEY_VARIABLE", "Options"]
