"""One pass of a transformers model: over one row, or one step of several rows, on top of what they have read before."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langchain_softprompt.frozen_model.branches import Branches, attention_windows
from langchain_softprompt.frozen_model.columns import ColumnCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import Cache, PreTrainedModel


def read_row(
    model: PreTrainedModel,
    *,
    input_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    cache: Cache | None,
    past_length: int,
    is_plain: bool,
    wants_all: bool = False,
    branches: Branches | None = None,
) -> Tensor:
    """Read one row.

    Args:
        model: The transformers model.
        input_ids: Token ids, shape ``[1, length]``; or
        inputs_embeds: embeddings, shape ``[1, length, hidden_size]``.
        cache: What the row has read so far, which grows by this; ``None`` keeps nothing.
        past_length: How many positions that is.
        is_plain: Whether the cache is one of plain keys and values, rather than the model's native one.
        wants_all: Whether the logits after every position are wanted.
        branches: Where the positions stand and what each sees, when they are no row.

    Returns:
        Logits after the last position, float32, shape ``[vocab_size]``; after every position, ``[length, vocab_size]``.
    """
    given = input_ids if input_ids is not None else inputs_embeds
    if given is None:
        msg = "A row is read from input_ids or inputs_embeds."
        raise TypeError(msg)
    length = given.shape[1]
    # A row alone has no padding. State-space layers want a mask as long as the input, or none.
    seen: object = torch.ones(1, past_length + length, dtype=torch.long, device=given.device) if is_plain else None
    positions = torch.arange(past_length, past_length + length, device=given.device)
    if branches is not None:
        seen, positions = _tree_masks(model, branches), branches.positions
    output = model(
        input_ids=input_ids,
        # A copy: CTRL scales what it is given in place, and these may be a soft prompt's own rows.
        inputs_embeds=inputs_embeds.clone() if inputs_embeds is not None else None,
        attention_mask=seen,
        position_ids=positions[None],
        use_cache=cache is not None,
        logits_to_keep=0 if wants_all else 1,
        **{_cache_argument(model): cache},
    )
    if isinstance(cache, ColumnCache):
        cache.window.end += length
    logits: Tensor = output.logits[0].float() if wants_all else output.logits[0, -1].float()
    return logits


def step_rows(
    model: PreTrainedModel,
    *,
    input_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    cache: ColumnCache,
    lengths: Sequence[int],
) -> Tensor:
    """Let several rows read one more position each; the caller moves the window on.

    Args:
        model: The transformers model.
        input_ids: A token for each row, shape ``[rows, 1]``; or
        inputs_embeds: an embedding for each row, shape ``[rows, 1, hidden_size]``.
        cache: The rows in sight, all ending at the same column.
        lengths: How many positions each row has read.

    Returns:
        Logits of each row, float32, shape ``[rows, vocab_size]``.
    """
    longest = max(lengths)
    cache.window.start = cache.window.end - longest
    positions = torch.tensor(lengths, device=model.device)[:, None]
    output = model(
        input_ids=input_ids,
        inputs_embeds=inputs_embeds,
        attention_mask=(torch.arange(longest + 1, device=model.device)[None] >= longest - positions).long(),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    logits: Tensor = output.logits[:, -1].float()
    return logits


def _tree_masks(model: PreTrainedModel, branches: Branches) -> Tensor | dict[str, Tensor]:
    """A mask for each kind of layer; a mask alone where there is one kind."""
    windows = attention_windows(model.config.get_text_config())
    if windows is None:
        msg = f"{type(model).__name__} does not say how far its layers see."
        raise TypeError(msg)
    masks = {kind: branches.mask(window, model.dtype)[None, None] for kind, window in windows.items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _cache_argument(model: PreTrainedModel) -> str:
    """Pure state-space models (Mamba) have a name of their own, and swallow the usual one without a word."""
    names = inspect.signature(model.forward).parameters
    return "cache_params" if "cache_params" in names and "past_key_values" not in names else "past_key_values"
