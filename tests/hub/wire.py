"""What goes over the wire: a request as it came, the answer to it, and the refusal that the client knows by its code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

_YES = {"true", "1"}


@dataclass(frozen=True)
class Request:
    """One request; `target` is its path and query as they came, still quoted."""

    method: str
    target: str
    headers: Message
    body: bytes = b""

    @cached_property
    def quoted_path(self) -> str:
        """The path as sent: a slash inside a branch's name is still ``%2F`` here, and so can be told from one between segments."""
        return urlsplit(self.target).path

    @cached_property
    def path(self) -> str:
        return unquote(self.quoted_path)

    @cached_property
    def fields(self) -> dict[str, list[str]]:
        """The query's fields, and a form's."""
        fields = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        if self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            fields |= parse_qs(self.body.decode(), keep_blank_values=True)
        return fields

    def field(self, name: str) -> str | None:
        return self.fields.get(name, [None])[-1]

    def asks(self, name: str) -> bool:
        """Whether the field is there and means yes."""
        return (self.field(name) or "").lower() in _YES

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Refusal(400, f"The body is not JSON: {error}") from error

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Answer:
    """What is sent back."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        # default=str: the YAML of a model card may hold dates.
        return cls(json.dumps(value, default=str).encode(), status, {"Content-Type": "application/json", **(headers or {})})


class Refusal(Exception):  # noqa: N818 - no mistake of ours, but an answer
    """An answer that is an error to the client, which tells its kind by the code, or else by the message."""

    def __init__(self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        named = {"X-Error-Code": code} if code else {}
        in_one_line = " ".join(message.encode("ascii", "replace").decode().split())
        self.answer = Answer.json({"error": message}, status, {**named, "X-Error-Message": in_one_line, **(headers or {})})
