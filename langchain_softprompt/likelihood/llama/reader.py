"""LlamaReader: the whole model as one differentiable function of the prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from langchain_softprompt.data import Example
from langchain_softprompt.likelihood.llama.attention import Attention, Heads
from langchain_softprompt.likelihood.llama.layer import FrozenLayer, Kept
from langchain_softprompt.likelihood.llama.layout import Layout
from langchain_softprompt.likelihood.llama.norm import FrozenNorm
from langchain_softprompt.likelihood.llama.rotation import Rotation
from langchain_softprompt.prefix import KVPrefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """What a pass found.

    Attributes:
        hidden: Where a completion token is predicted, each distinct place once, ``[places, hidden_size]``: what the
            vocabulary matrix multiplies.
        predicting: For each completion token of the batch, row after row, the place that predicts it.
    """

    hidden: Tensor
    predicting: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class _Pass:
    """One batch behind one length of prefix.

    Attributes:
        layout: The batch's positions.
        everyone: Attention in all layers but the last.
        wanted: In the last, where only those ask whose answer is looked at.
    """

    layout: Layout
    everyone: Attention
    wanted: Attention


class LlamaReader:
    """Reads batches as transformers' own forward does (in float32 within rounding), with gradients for the prefix alone.

    The sums are the same; fewer are made. Rows are not padded. What rows begin with alike is read once. In the last layer only
    those positions go on that predict a completion token. What stands before the first layer's attention does not
    depend on the prefix, so no gradient is sent there. Beyond the weights a step holds, for each layer and position, about
    four times the hidden size and twice the feed-forward size in numbers.

    Args:
        model: A transformers model for which `is_llama_shaped` holds. Its weights are shared, not copied.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        base: Any = model.get_submodule("model")
        config: Any = model.config
        attention = base.layers[0].self_attn
        groups = config.num_attention_heads // config.num_key_value_heads
        self._heads = Heads(config.num_key_value_heads, groups, attention.head_dim, attention.scaling)
        self._embedding = base.embed_tokens
        self._rotary = base.rotary_emb
        self._layers = [FrozenLayer(layer, config.rms_norm_eps) for layer in base.layers]
        self._norm = FrozenNorm(base.norm.weight, config.rms_norm_eps)

    @property
    def learns(self) -> bool:
        """Whether there are gradients: packed weights have none."""
        return all(layer.learns for layer in self._layers)

    def read(self, prefix: KVPrefix | None, batch: Sequence[Example]) -> Reading:
        """Read texts and completions after a prefix.

        Args:
            prefix: Keys and values for each layer; ``None`` for none.
            batch: The rows.
        """
        layout = Layout.of(batch, self._embedding.weight.device)
        past = [_plain(tensor) for layer in prefix.layers for tensor in layer] if prefix is not None else self._no_past()
        whole = self._pass(layout, 0 if prefix is None else prefix.length)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in past):
            hidden: Tensor = _Read.apply(self, whole, *past)  # type: ignore[no-untyped-call]
        else:
            with torch.no_grad():
                hidden, _ = self.forward(whole, past, keep=False)
        return Reading(hidden, layout.predicting)

    def forward(self, whole: _Pass, past: Sequence[Tensor], *, keep: bool) -> tuple[Tensor, list[list[Tensor | None]]]:
        """All layers and the last norm.

        Args:
            whole: The batch.
            past: Keys and values of the prefix, layer after layer.
            keep: Whether there will be a way `back`.

        Returns:
            The hidden states of `Reading`, and what `back` needs: of each layer, and of the last norm.
        """
        hidden = self._embedding(whole.layout.ids)
        kept: list[list[Tensor | None]] = []
        for number, layer in enumerate(self._layers):
            attention, nodes = self._asking(whole, number)
            hidden, held = layer.forward(hidden, attention, nodes, (past[2 * number], past[2 * number + 1]))
            if keep:
                kept.append(held.flat())
        normed, scale = self._norm.forward(hidden)
        return normed, [*kept, [hidden, scale]]

    def back(self, whole: _Pass, gradient: Tensor, past: Sequence[Tensor], kept: Sequence[Sequence[Any]]) -> list[Tensor]:
        """From the gradient of what `forward` returned to that of ``past``."""
        flowing: Any = self._norm.back(gradient, *kept[-1])
        gradients: list[Tensor] = []
        for number in reversed(range(len(self._layers))):
            attention, nodes = self._asking(whole, number)
            held, here = Kept.from_flat(kept[number]), (past[2 * number], past[2 * number + 1])
            flowing, keys, values = self._layers[number].back(flowing, held, attention, nodes, here, own_too=number > 0)
            gradients += [values, keys]
        return gradients[::-1]

    def _asking(self, whole: _Pass, number: int) -> tuple[Attention, Tensor | None]:
        if number < len(self._layers) - 1:
            return whole.everyone, None
        return whole.wanted, whole.layout.wanted.nodes

    def _pass(self, layout: Layout, past: int) -> _Pass:
        longest = int(layout.depths.max()) + 1
        device = layout.ids.device
        positions = torch.arange(past, past + longest, device=device)
        wide = torch.empty(0, dtype=torch.promote_types(self._embedding.weight.dtype, torch.float32), device=device)
        cosines, sines = (angles[0] for angles in self._rotary(wide, position_ids=positions[None]))
        half = self._heads.size // 2
        turning = Rotation(cosines[layout.depths][:, None], sines[layout.depths][:, None, :half])
        everyone, wanted = (Attention(asking, past, self._heads, turning, (cosines, sines)) for asking in (layout.everyone, layout.wanted))
        return _Pass(layout, everyone, wanted)

    def _no_past(self) -> list[Tensor]:
        weight = self._embedding.weight
        nothing = torch.empty(self._heads.key_values, 0, self._heads.size, device=weight.device)
        return [_plain(nothing.to(weight.dtype))] * (2 * len(self._layers))


class _Read(torch.autograd.Function):
    """The reader as one node of autograd's graph. What it keeps autograd lets go of after the way back."""

    @staticmethod
    def forward(ctx: Any, reader: LlamaReader, whole: _Pass, *past: Tensor) -> Tensor:
        hidden, kept = reader.forward(whole, past, keep=True)
        ctx.reader, ctx.whole, ctx.sizes = reader, whole, [len(past), *map(len, kept)]
        ctx.save_for_backward(*past, *(tensor for tensors in kept for tensor in tensors))
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        ends = list(accumulate(ctx.sizes))
        past, *kept = (ctx.saved_tensors[end - size : end] for end, size in zip(ends, ctx.sizes, strict=True))
        return None, None, *ctx.reader.back(ctx.whole, gradient.contiguous(), past, kept)


def _plain(tensor: Tensor) -> Tensor:
    """Contiguous and float32 at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)).contiguous()


__all__ = ["LlamaReader", "Reading"]
