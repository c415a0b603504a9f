"""Finding soft prompts on the Hub."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_softprompt.errors import HubUnreachableError, SoftPromptError
from langchain_softprompt.hub.cached import SOFT_PROMPT_KINDS, count, short_text
from langchain_softprompt.hub.client import ASKING, client, in_plain_words
from langchain_softprompt.hub.integrity import MAX_JSON_BYTES
from langchain_softprompt.hub.local import CONFIG_FILE
from langchain_softprompt.hub.policy import current_policy
from langchain_softprompt.refs import SoftPromptRef

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

_MOST_LOOKED_AT = 200
_KINDS_BY_TAG = {kind.lower().replace("_", "-"): kind for kind in SOFT_PROMPT_KINDS} | {"p-tuning": "P_TUNING"}


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """What of a frozen model a soft prompt has to fit.

    Attributes:
        hidden_size: Numbers of an embedding.
        num_layers: Its layers.
        kv_size: Numbers of a key in one layer: heads times their size.
    """

    hidden_size: int
    num_layers: int
    kv_size: int

    def misfit(self, config: Mapping[str, Any]) -> str:
        """Why a soft prompt with this ``adapter_config.json`` does not fit; empty where nothing speaks against it."""
        of_keys = config.get("peft_type") in ("PREFIX_TUNING", "CARTRIDGE")
        wanted = {"token_dim": self.kv_size if of_keys else self.hidden_size, **({"num_layers": self.num_layers} if of_keys else {})}
        for name, size in wanted.items():
            if isinstance(config.get(name), int) and config[name] != size:
                return f"made for a model with {name} {config[name]}, yours has {size}"
        return ""


@dataclass(frozen=True, slots=True)
class FoundSoftPrompt:
    """One soft prompt on the Hub.

    Attributes:
        repo_id: Its repository.
        kind: PEFT's name of its type.
        base_model: The model it says it is for.
        num_virtual_tokens: Its length; 0 where it does not say.
        downloads: In the last month.
        likes: People who like it.
        updated: When it was last changed.
        licence: The Hub's name of its licence.
        gated: Whether one has to ask for access.
        misfit: Why it does not fit the model at hand; empty where nothing speaks against it, or no model is.
    """

    repo_id: str
    kind: str
    base_model: str
    num_virtual_tokens: int
    downloads: int
    likes: int
    updated: datetime.datetime | None
    licence: str
    gated: bool
    misfit: str = ""

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "updated": self.updated.isoformat(timespec="seconds") if self.updated else None, "misfit": self.misfit or None}


def search_soft_prompts(
    text: str | None = None,
    *,
    base_model: str | None = None,
    task: str | None = None,
    sizes: ModelSizes | None = None,
    limit: int = 20,
) -> list[FoundSoftPrompt]:
    """Search the Hub, the most downloaded first.

    Most PEFT adapters there are no soft prompts, and only their configuration says so: it is read, and nothing else.

    Args:
        text: Part of the name.
        base_model: The Hub's name of the model they are for.
        task: A tag, for instance ``"text-classification"``.
        sizes: Of the model at hand: those that do not fit are told as such.
        limit: Most to find.

    Raises:
        HubUnreachableError: The Hub can't be reached.
        HubError: It does not answer the question.
    """
    tags = ["peft", *([f"base_model:adapter:{base_model}"] if base_model else []), *([task] if task else [])]
    api = client()
    with in_plain_words("soft prompts", None, ASKING, "search for", name="soft prompts"), tempfile.TemporaryDirectory() as beside:
        hits = islice(api.list_models(filter=tags, search=text, sort="downloads", limit=_MOST_LOOKED_AT, full=True), _MOST_LOOKED_AT)
        return list(islice(_soft_prompts(api, hits, sizes, Path(beside)), limit))


def _soft_prompts(api: HfApi, hits: Iterator[ModelInfo], sizes: ModelSizes | None, beside: Path) -> Iterator[FoundSoftPrompt]:
    allowed = {name.lower() for name in current_policy().organisations}
    for hit in hits:
        tags = hit.tags or []
        if (allowed and hit.id.split("/")[0].lower() not in allowed) or "lora" in tags:
            continue
        config = _config(api, hit.id, beside)
        kind = config.get("peft_type") or next((_KINDS_BY_TAG[tag] for tag in tags if tag in _KINDS_BY_TAG), None)
        if kind not in SOFT_PROMPT_KINDS:
            continue
        tagged = next((tag.rpartition(":")[2] for tag in tags if tag.startswith("base_model:")), "")
        yield FoundSoftPrompt(
            repo_id=hit.id,
            kind=str(kind),
            base_model=short_text(config.get("base_model_name_or_path") or tagged),
            num_virtual_tokens=count(config.get("num_virtual_tokens")),
            downloads=hit.downloads or 0,
            likes=hit.likes or 0,
            updated=hit.last_modified,
            licence=short_text(next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")),
            gated=bool(hit.gated),
            misfit="" if sizes is None else sizes.misfit(config) if config else "unknown: its configuration can't be read",
        )


def _config(api: HfApi, repo_id: str, beside: Path) -> dict[str, Any]:
    """Its configuration; nothing where it can't be had: a list is no place to fail for one bad entry."""
    from huggingface_hub import RepoFile

    try:
        SoftPromptRef.parse(repo_id)
        with in_plain_words(repo_id, None, ASKING):
            listed = api.get_paths_info(repo_id, [CONFIG_FILE])
            if not any(isinstance(entry, RepoFile) and entry.size <= MAX_JSON_BYTES for entry in listed):
                return {}
            read = json.loads(Path(api.hf_hub_download(repo_id, CONFIG_FILE, cache_dir=beside)).read_bytes())
    except HubUnreachableError:  # no answer is not an empty one
        raise
    except (SoftPromptError, OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


__all__ = ["FoundSoftPrompt", "ModelSizes", "search_soft_prompts"]
