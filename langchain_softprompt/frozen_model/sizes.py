"""What a soft prompt has to fit, read from a model's configuration alone: no weights are loaded or fetched."""

from __future__ import annotations

from pathlib import Path

from langchain_softprompt import hub
from langchain_softprompt.errors import FrozenModelError, ModelUnavailableError
from langchain_softprompt.frozen_model.sources import find_model
from langchain_softprompt.hub.searching import ModelSizes


def model_sizes(source: str, *, revision: str | None = None) -> tuple[str, ModelSizes]:
    """The name and the sizes of a model.

    Args:
        source: As for `FrozenModel.load`.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        ModelUnavailableError: Nothing of that name is here or to be had.
        FrozenModelError: Its configuration is not that of a causal language model.
    """
    from transformers import AutoConfig

    if hub.is_repo_id(source) and not Path(source).is_dir():
        name = source
        folder, _ = hub.fetch_model(source, revision=revision, config_only=True)
    else:
        found = find_model(source)
        name, folder = found.name, found.folder
    if not (folder / "config.json").is_file():
        msg = f"{source} has no config.json. Give a transformers folder, a .gguf file, a Hub id such as 'org/name', or 'embedded'."
        raise ModelUnavailableError(msg)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return name, ModelSizes(config.hidden_size, config.num_hidden_layers, heads * width)
    except (AttributeError, OSError, TypeError, ValueError) as error:
        msg = f"The sizes of {source} can't be read from its configuration: {error}"
        raise FrozenModelError(msg) from error


__all__ = ["model_sizes"]
