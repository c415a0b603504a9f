"""A soft prompt's records as strangers may read them: the base model by its name on the Hub, nobody's folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_softprompt.card.base_model import find_base_model
from langchain_softprompt.card.markdown import without_folders
from langchain_softprompt.soft_prompt import Manifest, SoftPrompt


def publishable(soft_prompt: SoftPrompt, base_model: str | None = None) -> SoftPrompt:
    """The same soft prompt with records that tell of no folder of this machine.

    What it does stays as it is: the tensors, the templates, the fingerprint of its model.

    Args:
        soft_prompt: The soft prompt.
        base_model: ``org/name`` or ``org/name@revision``, where its records name a folder.

    Raises:
        InvalidSettingsError: Nobody says what its base model is on the Hub.
    """
    base = find_base_model(soft_prompt, base_model)
    config, manifest = soft_prompt.config, soft_prompt.manifest
    if not base.is_embedded:  # whose weights are those of a package, not of a repository
        named = {"base_model_name_or_path": base.hub_id, "revision": base.revision}
        if getattr(config, "tokenizer_name_or_path", None):
            named["tokenizer_name_or_path"] = base.hub_id
        config = config.model_copy(update=named)
    if manifest is not None:
        record = manifest.base_model
        if not base.is_embedded:
            record = record.model_copy(update={"id": base.hub_id, "revision": base.revision})
        manifest = _without_folders(manifest).model_copy(update={"base_model": record})
    return replace(soft_prompt, config=config, manifest=manifest)


def _without_folders(manifest: Manifest) -> Manifest:
    changes: dict[str, Any] = {"training": _told(manifest.training)}
    if manifest.data is not None:
        changes["data"] = manifest.data.model_copy(update={"source": without_folders(manifest.data.source, is_source=True)})
    if manifest.evaluation is not None:
        source = without_folders(manifest.evaluation.source, is_source=True)
        changes["evaluation"] = manifest.evaluation.model_copy(update={"source": source, "settings": _told(manifest.evaluation.settings)})
    return manifest.model_copy(update=changes)


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: without_folders(value) if isinstance(value, str) else value for name, value in facts.items()}


__all__ = ["publishable"]
