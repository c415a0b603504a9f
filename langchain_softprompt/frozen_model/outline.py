"""ModelOutline: what is known of a frozen model without its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from langchain_softprompt.errors import FrozenModelError, SoftPromptError
from langchain_softprompt.frozen_model.end_tokens import end_token_ids
from langchain_softprompt.frozen_model.loading import refuse_encoder_decoder
from langchain_softprompt.frozen_model.positions import usable_positions
from langchain_softprompt.frozen_model.sources import ModelSource, find_model
from langchain_softprompt.frozen_model.stored_fingerprint import stored_fingerprint

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


class ModelOutline:
    """A frozen model that is served elsewhere: tokenizer and configuration are here, the weights are not loaded.

    Attributes:
        tokenizer: Its tokenizer.
        name: What the model is called in messages, manifests and traces.
        revision: Commit on the Hub; ``None`` for local files.
        folder: Where its files lie.
        vocab_size: How many tokens it knows.
        hidden_size: Width that soft rows must have.
        eos_token_ids: The tokens that end an answer.
        local_fingerprint: `FrozenModel.fingerprint` as read off the weight files, where they are here; else ``None``.
        served_fingerprint: What the server says of its weights; ``None`` until it was asked, or where it does not know.
        served_positions: The context that the servers have room for; ``None`` until they were asked.
        ask: Asks a server for these two; ``None`` where there is none to ask.
    """

    def __init__(self, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> None:
        refuse_encoder_decoder(config, source.name)
        text = config.get_text_config()
        self.tokenizer = tokenizer
        self.name = source.name
        self.revision = source.revision
        self.folder = source.folder
        self.vocab_size = int(text.vocab_size)
        self.hidden_size = int(getattr(text, "word_embed_proj_dim", None) or text.hidden_size)
        self.eos_token_ids = end_token_ids(_generation_config(config, source.folder), text, tokenizer)
        self.local_fingerprint = stored_fingerprint(source.folder)
        self.served_fingerprint: str | None = None
        self.served_positions: int | None = None
        self.ask: Callable[[], None] | None = None
        self._own_positions = usable_positions(text, source.name)

    @classmethod
    def load(cls, source: str | Path, *, revision: str | None = None, gguf_file: str | None = None) -> Self:
        """Read a model's configuration and tokenizer; of a Hub id nothing else is fetched.

        Args:
            source: As for `FrozenModel.load`, as are the next two.
            revision: Branch, tag or commit of a Hub id.
            gguf_file: Name of a GGUF file inside the folder or repository; it has to be fetched whole.

        Raises:
            FrozenModelError: The model can't be found or read, or is no causal language model.
        """
        found = find_model(source, revision=revision, gguf_file=gguf_file, weights=False)
        try:
            config = AutoConfig.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
            return cls(config, tokenizer, found)
        except SoftPromptError:
            raise
        except Exception as error:  # A broken folder surfaces as almost any error of transformers or tokenizers.
            msg = f"Can't read the configuration and tokenizer of {found.name!r} from {found.folder}: {error}"
            raise FrozenModelError(msg) from error

    @property
    def max_positions(self) -> int | None:
        """Context window in tokens: the smaller of the model's and, once they were asked, the servers'."""
        return min((size for size in (self._own_positions, self.served_positions) if size is not None), default=None)

    @property
    def known_fingerprint(self) -> str | None:
        """What identifies the weights, as far as the files here or the server tell."""
        return self.local_fingerprint or self.served_fingerprint

    @property
    def fingerprint(self) -> str:
        """What identifies the weights. Where the files here do not tell it, a server is asked, once.

        Where that does not know either, it is made of the model's name and revision.
        """
        if self.known_fingerprint is None and self.ask is not None:
            self.ask()
        return self.known_fingerprint or hashlib.sha256(f"{self.name} {self.revision}".encode()).hexdigest()

    def __repr__(self) -> str:
        return f"ModelOutline({self.name!r})"


def _generation_config(config: PretrainedConfig, folder: Path) -> GenerationConfig:
    """As a loaded model has it."""
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(config)


__all__ = ["ModelOutline"]
