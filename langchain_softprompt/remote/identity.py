"""Served: what a server says that it serves, and whether that is the right model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NoReturn

from langchain_softprompt.errors import RequestFailedError, ServerMismatchError
from langchain_softprompt.frozen_model import ModelOutline
from langchain_softprompt.printable import printable

SERVE_COMMAND = "langchain-softprompt serve-command"


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of itself.

    Attributes:
        name: What requests call the model.
        root: Where the server has it from.
        max_positions: How many positions it has room for; ``None`` where it does not say.
        plugin: Version of our plug-in there; ``None`` for a server without it.
        fingerprint: What identifies the weights, if the plug-in knows.
        dtype: Type of the weights, if the plug-in knows.
    """

    name: str
    root: str | None = None
    max_positions: int | None = None
    plugin: str | None = None
    fingerprint: str | None = None
    dtype: str | None = None


def read_served(models: Mapping[str, Any], plugin: Mapping[str, Any] | None, wanted: str | None, outline: ModelOutline) -> Served:
    """What the answers to ``GET /v1/models`` and ``GET /v1/soft_prompts`` say.

    Args:
        models: The former.
        plugin: The latter; ``None`` where the server does not know that route.
        wanted: The served name that the user gave.
        outline: The model that is wanted.

    Raises:
        ServerMismatchError: It serves no model of that name, or several of which none goes by it.
        RequestFailedError: The answers are not of the form they should have.
    """
    cards = [_object(card, "data") for card in _list(models, "data")]
    base = {_text(card, "id"): card for card in cards if card.get("parent") is None}  # others are LoRA adapters
    named = [wanted] if wanted is not None else list(base) if len(base) == 1 else [name for name in base if _is_named(name, outline)]
    if len(named) != 1 or named[0] not in base:
        asked = f"served_model_name={wanted!r}" if wanted is not None else outline.name
        msg = f"It serves {', '.join(map(printable, base)) or 'no model'}, not {asked}. Name the one you mean: served_model_name=..."
        raise ServerMismatchError(msg)
    card = base[named[0]]
    root, room = _text(card, "root", optional=True), _number(card, "max_model_len")
    if plugin is None:
        return Served(named[0], root, room)
    model = _object(plugin.get("model"), "model")
    return Served(
        named[0],
        root,
        min((size for size in (room, _number(model, "max_model_len")) if size is not None), default=None),
        _text(plugin, "plugin"),
        _text(model, "fingerprint", optional=True),
        (_text(model, "dtype", optional=True) or "").removeprefix("torch.") or None,
    )


def check_served(served: Served, outline: ModelOutline, wanted: str | None) -> None:
    """Refuse another model than the wanted one: by the weights where both sides know them, else by its names.

    Raises:
        ServerMismatchError: It is another one, or may be.
    """
    known = outline.known_fingerprint
    if served.fingerprint is not None and known is not None:
        if served.fingerprint != known:
            msg = (
                f"It serves {served.name} (fingerprint {printable(served.fingerprint)}), and {outline.name} was asked for "
                f"(fingerprint {known}). Start it with that model, or name its own: model=..."
            )
            raise ServerMismatchError(msg)
        return
    if wanted is None and not any(_is_named(name, outline) for name in (served.name, served.root) if name):
        msg = (
            f"It serves {printable(served.name)} (from {printable(served.root)}), and {outline.name} was asked for. "
            f"If that is the same model under another name, say so: served_model_name={served.name!r}."
        )
        raise ServerMismatchError(msg)


def _is_named(name: str, outline: ModelOutline) -> bool:
    """Whether a name, or a folder's last part, is that of the model."""
    own = {outline.name, str(outline.folder), PurePath(outline.name).name, outline.folder.name}
    return name in own or (bool(PurePath(name).name) and PurePath(name).name in own)


def _list(given: Mapping[str, Any], field: str) -> list[Any]:
    value = given.get(field)
    if not isinstance(value, list):
        _malformed(field, "a list", value)
    return value


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _malformed(field, "an object", value)
    return value


def _text(given: Mapping[str, Any], field: str, *, optional: bool = False) -> Any:
    value = given.get(field)
    if not isinstance(value, str) and not (optional and value is None):
        _malformed(field, "text", value)
    return value


def _number(given: Mapping[str, Any], field: str) -> int | None:
    value = given.get(field)
    if value is not None and (type(value) is not int or value < 1):
        _malformed(field, "a number of at least 1", value)
    return value


def _malformed(field: str, expected: str, found: Any) -> NoReturn:
    msg = f"What it says of itself can't be read: {field}: expected {expected}, found {printable(found)}."
    raise RequestFailedError(msg)


__all__ = ["SERVE_COMMAND", "Served", "check_served", "read_served"]
