"""FrozenModel: one transformers model whose weights never change, with its tokenizer and fingerprint."""

from __future__ import annotations

import gc
import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model.choosing import choose_passes, reads_branches
from langchain_softprompt.frozen_model.end_tokens import end_token_ids
from langchain_softprompt.frozen_model.fingerprint import fingerprint
from langchain_softprompt.frozen_model.loading import choose_device, choose_dtype, read_model, refuse_encoder_decoder
from langchain_softprompt.frozen_model.one_row import read_row
from langchain_softprompt.frozen_model.passes import Passes
from langchain_softprompt.frozen_model.positions import usable_positions
from langchain_softprompt.frozen_model.self_test import CacheUse, choose_cache_use
from langchain_softprompt.frozen_model.sources import ModelSource, find_model
from langchain_softprompt.settings import check_quantization
from langchain_softprompt.weights import pack_linears

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class FrozenModel:
    """A transformers causal language model that is only ever read.

    Attributes:
        model: The transformers model, in eval mode, without gradients on its weights.
        tokenizer: Its tokenizer; ``None`` only for a model wrapped without one.
        name: What the model is called in messages, manifests and traces.
        revision: Commit on the Hub; ``None`` for local files.
        dtype: Type of the weights in memory; of what is computed with, when they are quantized.
        quantization: ``"int8"``, or ``None`` for weights as they were stored.
        packed: Whether the weights are laid out for serving, which leaves them without gradients.
        device: Where the weights are.
        reuses_prefix: Whether a compiled prefix of keys and values can be continued and rows decode together, found
            out by the load-time self-test. When False, soft prompts made of keys and values are refused, and
        snapshots_prefix: says whether a copy of the native cache can be continued; when that is False too, soft prompts
            are read again with each request.
        passes: How the model is read when it serves.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        source: ModelSource,
        *,
        quantization: str | None = None,
        packed: bool = False,
    ) -> None:
        refuse_encoder_decoder(model.config, source.name)
        config = model.config.get_text_config()
        model.eval()
        model.requires_grad_(requires_grad=False)
        self.model = model
        self.tokenizer = tokenizer
        cache_use = choose_cache_use(model)
        self.reuses_prefix = cache_use is CacheUse.SLOTTED
        self.snapshots_prefix = cache_use is CacheUse.SNAPSHOT
        self.quantization = quantization
        self.packed = False
        if packed or quantization is not None:
            self.fingerprint = fingerprint(model)  # of the weights as they were made, which soft prompts know
            self.packed = pack_linears(model, quantization).packed > 0
        self.passes: Passes = choose_passes(model, is_plain=self.reuses_prefix, is_quantized=quantization is not None)
        self.name = source.name
        self.revision = source.revision
        self.folder = source.folder
        self.dtype: torch.dtype = model.dtype
        self.device: torch.device = model.device
        # The width soft rows must have is that of the embeddings, which a few models (OPT-350m) project to another size.
        self.vocab_size, self.hidden_size = cast("Tensor", model.get_input_embeddings().weight).shape
        self.num_layers: int = getattr(config, "num_hidden_layers", 0)  # A few have several stacks, and no number for them all.
        self.max_positions = usable_positions(config, source.name)
        self.eos_token_ids = end_token_ids(model.generation_config, config, tokenizer)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        gguf_file: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        quantization: str | None = None,
        packed: bool = False,
    ) -> Self:
        """Load a model and its tokenizer from files on this machine, fetching them from the Hub where needed.

        Args:
            source: ``"embedded"``, a transformers folder, a ``.gguf`` file, or a Hub id (``org/name``).
            revision: Branch, tag or commit of a Hub id.
            gguf_file: Name of a GGUF file inside the folder or repository.
            dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``; ``"auto"`` takes the checkpoint's own, and float32 on
                a CPU that has no fast path for it.
            device: A torch device; ``"auto"`` takes CUDA, then MPS, then the CPU.
            quantization: ``"int8"`` rounds the weights of linear layers to eight bits and multiplies in eight bits, on the
                CPU. Soft prompts made on the full weights still fit; their answers change a little.
            packed: Lay the weights out for serving where that is quicker; the model can't be trained on then.

        Raises:
            FrozenModelError: The model can't be found, loaded or served. Only safetensors weights are read, and code
                inside a model repository is never run.
        """
        place = choose_device(device)
        check_quantization(quantization)
        if quantization is not None and device == "auto":
            place = torch.device("cpu")
        if dtype != "auto":
            choose_dtype(dtype, None, place)  # before anything is fetched
        found = find_model(source, revision=revision, gguf_file=gguf_file)
        model, tokenizer = read_model(found, dtype=dtype, device=place)
        if packed and quantization is None:
            try:
                return cls(model, tokenizer, found, packed=True)
            except FrozenModelError as error:  # Some models look into their linear layers.
                logger.warning("%s is served without packed weights: %s", found.name, error)
                model, tokenizer = read_model(found, dtype=dtype, device=place)
        try:
            return cls(model, tokenizer, found, quantization=quantization)
        except FrozenModelError as error:
            if quantization is None:
                raise
            msg = f"{found.name} can't be served with quantization={quantization!r}: {error} Load it without quantization."
            raise FrozenModelError(msg) from error

    @classmethod
    def wrap(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        name: str = "in-memory",
        revision: str | None = None,
    ) -> Self:
        """Serve a transformers model that is already in memory; its gradients are switched off."""
        return cls(model, tokenizer, ModelSource(Path(), name, revision))

    @cached_property
    def fingerprint(self) -> str:
        """What identifies these weights, 64 hexadecimal characters; see `fingerprint.fingerprint`."""
        return fingerprint(self.model)

    @cached_property
    def key_value_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """For each layer the number of key-value heads, the size of a key and the size of a value; read off a real pass."""
        cache = self.new_cache()
        self.forward(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device), cache=cache, past_length=0)
        layers: list[Any] = list(cache.layers)
        return tuple((layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in layers)

    @cached_property
    def reads_branches(self) -> bool:
        """Whether several continuations of a row can be read as a tree in one pass; found out when first asked."""
        return self.reuses_prefix and reads_branches(self.model, self.passes, is_quantized=self.quantization is not None)

    def new_cache(self) -> Cache:
        """An empty cache for one row: plain and growing where prefixes are reused, else the model's native one."""
        return DynamicCache() if self.reuses_prefix else DynamicCache(config=self.model.config)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings as the model's own layers would see them, shape ``[..., hidden_size]``."""
        embeds: Tensor = self.model.get_input_embeddings()(token_ids)
        return embeds

    @torch.inference_mode()
    def forward(self, *, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, cache: Cache, past_length: int) -> Tensor:
        """Read one row on top of `cache`, which grows by it.

        Args:
            input_ids: Token ids, shape ``[1, length]``; or
            inputs_embeds: embeddings, shape ``[1, length, hidden_size]``.
            cache: What the row has read so far.
            past_length: How many positions that is.

        Returns:
            Logits after the last position, float32, shape ``[vocab_size]``.
        """
        return read_row(
            self.model, input_ids=input_ids, inputs_embeds=inputs_embeds, cache=cache, past_length=past_length, is_plain=self.reuses_prefix
        )

    def close(self) -> None:
        """Let go of the weights."""
        self.model = self.passes = None  # type: ignore[assignment]
        gc.collect()

    def __repr__(self) -> str:
        kind = self.quantization or str(self.dtype).removeprefix("torch.")
        return f"FrozenModel({self.name!r}, {kind}, {self.device})"


__all__ = ["FrozenModel"]
