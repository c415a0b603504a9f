"""What the head of a model card, its YAML, says of a model; and the tags that the Hub makes of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection

_HEAD = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_LISTS = ("tags", "datasets", "language", "metrics")


class CardError(Exception):
    """The head can't be read."""


def read_head(readme: str) -> dict[str, Any]:
    """The head's fields; none if there is no head.

    Raises:
        CardError: It is no YAML, or not of the form that the Hub wants.
    """
    found = _HEAD.match(readme)
    if not found:
        return {}
    try:
        head = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        msg = f"The head is no YAML: {error}"
        raise CardError(msg) from error
    if head is None:
        return {}
    if not isinstance(head, dict):
        msg = "The head must be a mapping"
        raise CardError(msg)
    for name in _LISTS:
        if not isinstance(head.get(name), list | str | None):
            msg = f'"{name}" must be a string or a list'
            raise CardError(msg)
    return head


def tags_of(head: dict[str, Any], paths: Collection[str]) -> list[str]:
    """The tags that a model is found by."""
    tags = [*_several(head.get("tags"))]
    tags += [str(head[name]) for name in ("library_name", "pipeline_tag") if head.get(name)]
    tags += ["safetensors"] if any(path.endswith(".safetensors") for path in paths) else []
    tags += _several(head.get("language"))
    for base in _several(head.get("base_model")):
        tags += [f"base_model:{base}", f"base_model:{relation_of(head, paths)}:{base}"]
    tags += [f"dataset:{name}" for name in _several(head.get("datasets"))]
    tags += [f"license:{name}" for name in _several(head.get("license"))]
    return list(dict.fromkeys(tags))


def base_models_of(head: dict[str, Any], paths: Collection[str]) -> dict[str, Any] | None:
    bases = _several(head.get("base_model"))
    return {"relation": relation_of(head, paths), "models": [{"id": base} for base in bases]} if bases else None


def relation_of(head: dict[str, Any], paths: Collection[str]) -> str:
    """What the card says, or else what the files look like."""
    return str(head.get("base_model_relation") or ("adapter" if "adapter_config.json" in paths else "finetune"))


def _several(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
