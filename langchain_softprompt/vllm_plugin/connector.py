"""SoftPromptConnector: vLLM's KV connector that writes a soft prompt's keys and values into the cache of who wears it.

Enabled on the server with one flag; ``langchain-softprompt serve-command`` prints it::

    --kv-transfer-config '{"kv_connector": "SoftPromptConnector", "kv_role": "kv_both",
        "kv_connector_module_path": "langchain_softprompt.vllm_plugin.connector",
        "kv_connector_extra_config": {"soft_prompts": ["/srv/soft-prompts"]}}'

A request's prompt is one placeholder token for each virtual token, then the text. To the scheduler the placeholders are
tokens whose keys and values come from outside, and the worker writes them into the request's blocks before the forward pass.
The blocks are cached by vLLM as any others are, under a salt that is made of the soft prompt's content hash and a secret of the server.

Written against `KVConnectorBase_V1` of vLLM 0.32, which vLLM calls experimental.
"""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorMetadata
from vllm.model_executor.models.utils import extract_layer_index

from langchain_softprompt.vllm_plugin.names import CACHE_BYTES, SOURCES
from langchain_softprompt.vllm_plugin.salting import Salts
from langchain_softprompt.vllm_plugin.served import ServedSoftPrompts
from langchain_softprompt.vllm_plugin.sharding import ShapeMismatchError, cast_finite, heads_of_rank, layer_key_values
from langchain_softprompt.vllm_plugin.wearing import Worn, worn_by

if TYPE_CHECKING:
    from torch import Tensor
    from vllm.config import VllmConfig
    from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole
    from vllm.forward_context import ForwardContext
    from vllm.v1.attention.backend import AttentionMetadata
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.request import Request

logger = logging.getLogger(__name__)

# Memory of a worker for soft prompts that are ready on its device, beyond what vLLM reckons with.
_CACHE_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Writing:
    """One request's part of a step.

    Attributes:
        content_hash: The soft prompt.
        start: First of its positions to write; those before are in blocks that were cached.
        end: One past the last.
        blocks: The request's cache blocks, from its first position on.
        refused: Write nothing, and let the request fail.
    """

    content_hash: str
    start: int
    end: int
    blocks: tuple[int, ...]
    refused: bool = False


@dataclass
class SoftPromptMetadata(KVConnectorMetadata):
    """What the scheduler tells the workers of one step."""

    writings: list[Writing] = field(default_factory=list)


class SoftPromptConnector(KVConnectorBase_V1):
    """See the module's text; vLLM makes one in the scheduler and one in each worker."""

    def __init__(self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig) -> None:
        super().__init__(vllm_config=vllm_config, role=role, kv_cache_config=kv_cache_config)
        if vllm_config.model_config.use_mla:
            msg = "Soft prompts of keys and values can't be put into the compressed cache of a model with latent attention (MLA)."
            raise ValueError(msg)
        self._block_size: int = vllm_config.cache_config.block_size
        self._served = ServedSoftPrompts(self._kv_transfer_config.get_from_extra_config(SOURCES, []))
        self._salts = Salts.of(self._kv_transfer_config)
        self._worn: dict[str, Worn] = {}  # by request, as long as it is under way
        self._writings: dict[str, Writing] = {}  # of the step that is being scheduled, by request
        self._cached: dict[str, int] = {}  # positions of a request that were cached when the scheduler last asked
        self._most_bytes = int(self._kv_transfer_config.get_from_extra_config(CACHE_BYTES, _CACHE_BYTES))
        self._held: OrderedDict[str, list[tuple[Tensor, Tensor]]] = OrderedDict()  # this worker's share, by content hash
        self._failed_blocks: set[int] = set()

    # The scheduler's side.

    def on_new_request(self, request: Request) -> None:
        """Read what a request says of its soft prompt, once."""
        params = request.kv_transfer_params
        if not params:
            return
        lengths = _Lengths(self._served)
        worn = worn_by(params, prompt_tokens=request.num_prompt_tokens, salt=request.cache_salt, salts=self._salts, lengths=lengths)
        if worn is None:
            return
        self._worn[request.request_id] = worn
        if worn.problem is not None:
            logger.error("Request %s is refused: %s.", request.request_id, worn.problem)
            # It fails through a position that could not be loaded, for which there has to be one that is in no cache. Alone
            # under a salt of its own it finds nothing there, and leaves nothing to others.
            request.cache_salt = f"refused {uuid.uuid4()}"
            request.block_hashes = []
            request.update_block_hashes()

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int) -> tuple[int | None, bool]:
        """How many positions the connector brings beyond those that are cached."""
        worn = self._worn.get(request.request_id)
        if worn is None:
            return 0, False
        self._cached[request.request_id] = num_computed_tokens
        if worn.problem is None:
            return max(0, worn.length - num_computed_tokens), False
        # One token alone has no room for a placeholder, and is answered as what it is.
        return min(1, request.num_tokens - 1 - num_computed_tokens), False

    def update_state_after_alloc(self, request: Request, blocks: KVCacheBlocks, num_external_tokens: int) -> None:
        """Note which blocks a request's soft prompt goes to."""
        if num_external_tokens <= 0:
            self._cached.pop(request.request_id, None)
            return
        worn = self._worn.get(request.request_id)
        if worn is None:
            return
        (block_ids,) = blocks.get_block_ids()
        start = self._cached.pop(request.request_id, 0)
        end = start + num_external_tokens
        self._writings[request.request_id] = Writing(worn.content_hash, start, end, tuple(block_ids), refused=worn.problem is not None)

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> SoftPromptMetadata:
        """What the workers do before this step."""
        meta = SoftPromptMetadata(list(self._writings.values()))
        self._writings.clear()
        return meta

    def request_finished(self, request: Request, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """Forget the request; its blocks are vLLM's to free."""
        self._cached.pop(request.request_id, None)
        self._worn.pop(request.request_id, None)
        return False, None

    # The worker's side.

    def start_load_kv(self, forward_context: ForwardContext, **kwargs: Any) -> None:
        """Write the soft prompts of this step's new requests into their blocks."""
        meta = self._get_connector_metadata()
        if not isinstance(meta, SoftPromptMetadata):
            msg = f"expected SoftPromptMetadata, found {type(meta).__name__}"
            raise TypeError(msg)
        for writing in meta.writings:
            try:
                if writing.refused:
                    self._fail(writing)
                else:
                    self._write(writing, forward_context.no_compile_layers)
            except Exception:
                logger.exception("The soft prompt %s could not be written.", writing.content_hash)
                self._fail(writing)

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Blocks whose requests have to fail."""
        failed, self._failed_blocks = self._failed_blocks, set()
        return failed

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing to wait for: all is written before the forward pass."""

    def save_kv_layer(self, layer_name: str, kv_layer: Tensor, attn_metadata: AttentionMetadata, **kwargs: Any) -> None:
        """Nothing is saved."""

    def wait_for_save(self) -> None:
        """Nothing is saved."""

    def _fail(self, writing: Writing) -> None:
        # Blocks that were cached may be others' too; those from `start` on are this request's alone.
        first, last = writing.start // self._block_size, (writing.end - 1) // self._block_size
        self._failed_blocks.update(writing.blocks[first : last + 1])

    def _write(self, writing: Writing, layers: dict[str, Any]) -> None:
        attention = [(name, layer) for name, layer in layers.items() if hasattr(layer, "num_kv_heads") and hasattr(layer, "kv_cache")]
        if not attention:
            msg = "the model has no attention layers that this plug-in knows"
            raise ShapeMismatchError(msg)
        shares = self._shares(writing.content_hash, attention)
        positions = torch.arange(writing.start, writing.end)
        blocks = torch.tensor(writing.blocks)
        slots = (blocks[positions // self._block_size] * self._block_size + positions % self._block_size).to(shares[0][0].device)
        for (_, layer), (keys, values) in zip(attention, shares, strict=True):
            here = slice(writing.start, writing.end)
            layer.impl.do_kv_cache_update(layer, keys[here], values[here], layer.kv_cache, slots)

    def _shares(self, content_hash: str, attention: list[tuple[str, Any]]) -> list[tuple[Tensor, Tensor]]:
        """This worker's keys and values of each layer, on its device; cast and checked once."""
        if content_hash in self._held:
            self._held.move_to_end(content_hash)
            return self._held[content_hash]
        soft_prompt = self._served.find(content_hash)
        whole = soft_prompt.key_values() if soft_prompt is not None else None
        if whole is None:
            msg = f"the soft prompt {content_hash} is not in this worker's folders, or holds no keys and values"
            raise ShapeMismatchError(msg)
        whole = cast_finite(whole, self._vllm_config.model_config.dtype)
        heads = heads_of_rank(whole.shape[3], get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size())
        shares = []
        for name, layer in attention:
            keys, values = layer_key_values(whole, extract_layer_index(name), heads, held=layer.num_kv_heads, width=layer.head_size)
            device = layer.kv_cache.device
            shares.append((keys.to(device), values.to(device)))
        self._held[content_hash] = shares
        while len(self._held) > 1 and sum(map(_bytes, self._held.values())) > self._most_bytes:
            self._held.popitem(last=False)
        return shares


def _bytes(shares: list[tuple[Tensor, Tensor]]) -> int:
    return sum(tensor.nbytes for pair in shares for tensor in pair)


class _Lengths(dict[str, int]):
    """The virtual tokens of what is served, looked up as they are asked for."""

    def __init__(self, served: ServedSoftPrompts) -> None:
        super().__init__()
        self._served = served

    def __contains__(self, name: object) -> bool:
        found = self._served.find(name) if isinstance(name, str) else None
        return found is not None and found.config.holds_key_values

    def __getitem__(self, name: str) -> int:
        found = self._served.find(name)
        if found is None:
            raise KeyError(name)
        return found.num_virtual_tokens


__all__ = ["SoftPromptConnector", "SoftPromptMetadata", "Writing"]
