"""The pictures of an inspection's report."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from langchain_softprompt.inspection.ablation import Ablation, TokenAblation
from langchain_softprompt.inspection.attention import Attention
from langchain_softprompt.inspection.drift import Drift
from langchain_softprompt.inspection.norms import Norms
from langchain_softprompt.reports import Bars, Line, Part, bar_chart, figure_or_note, heat_map, histogram, line_chart

_OUTSHINES = 4


def norm_figures(norms: Norms) -> Iterator[Part]:
    """Rows beside the vocabulary; keys and values beside those of real text, layer by layer."""
    rows = norms.embeddings
    if rows is not None:
        samples = {"the vocabulary": rows.vocabulary, "its rows": rows.rows}
        yield figure_or_note(
            lambda: histogram(samples, x_label="Euclidean norm"), "Lengths of its rows of embeddings beside those of the vocabulary's."
        )
    if norms.layers:
        numbers = [layer.layer for layer in norms.layers]
        lines = [
            Line("keys", numbers, [layer.key_ratio for layer in norms.layers]),
            Line("values", numbers, [layer.value_ratio for layer in norms.layers]),
            Line("as long as real ones", numbers, [1.0] * len(numbers)),
        ]
        yield figure_or_note(
            lambda: line_chart(lines, x_label="layer", y_label="times as long as real ones"),
            f"Length of its keys and values, as a multiple of that of {norms.compared_with}: medians over positions, the first left out.",
        )


def drift_figures(drift: Drift) -> Iterator[Part]:
    """How far keys and values have moved by layer, and each virtual token in each layer."""
    if drift.layers:
        numbers = [layer.layer for layer in drift.layers]
        names, columns = [str(number) for number in numbers], [str(number) for number in range(len(drift.layers[0].keys))]
        lines = [
            Line("keys", numbers, [statistics.median([move.distance for move in layer.keys]) for layer in drift.layers]),
            Line("values", numbers, [statistics.median([move.distance for move in layer.values]) for layer in drift.layers]),
        ]
        yield figure_or_note(
            lambda: line_chart(lines, x_label="layer", y_label="distance / length then"),
            f"How far keys and values have moved from {drift.start}, as a share of their length then: medians over virtual tokens.",
        )
        table = [[move.distance for move in layer.values] for layer in drift.layers]
        yield figure_or_note(
            lambda: heat_map(names, columns, table, value_label="distance / length then", row_label="layer", column_label="virtual token"),
            "How far the values of each virtual token have moved in each layer.",
        )
    elif drift.rows:
        bars = [Bars("distance", [move.distance for move in drift.rows])]
        columns = [str(number) for number in range(len(drift.rows))]
        yield figure_or_note(
            lambda: bar_chart(columns, bars, value_label="distance / length then", group_label="virtual token", horizontal=False),
            f"How far each row of embeddings has moved from {drift.start}, as a share of its length then.",
        )


def ablation_figures(ablation: Ablation) -> Iterator[Part]:
    """What each virtual token's absence costs; once more without the first, where that one outshines all others."""
    note = (
        f"By how much the loss grows when a virtual token is {ablation.how}, mean over {ablation.samples} samples; the lines are two "
        "standard errors either way. Below zero the answers get likelier without it."
    )
    yield _ablation_figure(ablation.tokens, note)
    sizes = [abs(token.change.loss) for token in ablation.tokens]
    if len(sizes) > 2 and sizes[0] > _OUTSHINES * max(sizes[1:]):
        yield _ablation_figure(ablation.tokens[1:], "The same without the first, on a scale of their own.")


def _ablation_figure(tokens: Sequence[TokenAblation], caption: str) -> Part:
    values = [token.change.loss for token in tokens]
    errors = [token.change.error for token in tokens]
    ends = [None if error is None else (value - 2 * error, value + 2 * error) for value, error in zip(values, errors, strict=True)]
    bars, names = [Bars("loss", values, ends)], [token.name for token in tokens]
    label = "loss grows by, nats a token"
    return figure_or_note(lambda: bar_chart(names, bars, value_label=label, group_label="virtual token", horizontal=False), caption)


def attention_figures(attention: Attention) -> Iterator[Part]:
    """The soft prompt's share by layer, and each virtual token's in each layer."""
    numbers = [layer.layer for layer in attention.layers]
    lines = [
        Line("where the answer begins", numbers, [layer.share for layer in attention.layers]),
        Line("all positions of the text", numbers, [layer.everywhere for layer in attention.layers]),
        Line("of it, the first virtual token", numbers, [layer.tokens[0] for layer in attention.layers]),
        Line("evenly spread", numbers, [attention.even] * len(numbers)),
    ]
    yield figure_or_note(
        lambda: line_chart(lines, x_label="layer", y_label="share of attention"),
        f"The soft prompt's share of attention by layer, mean over heads and {attention.inputs} inputs.",
    )
    if len(attention.layers[0].tokens) > 1:
        # The first would outshine all others.
        table = [list(layer.tokens[1:]) for layer in attention.layers]
        columns = [str(number) for number in range(1, len(attention.layers[0].tokens))]
        yield figure_or_note(
            lambda: heat_map(
                [str(number) for number in numbers],
                columns,
                table,
                value_label="share of attention",
                row_label="layer",
                column_label="virtual token, the first left out",
            ),
            "Share of each virtual token but the first, seen from where the answer begins.",
        )


__all__ = ["ablation_figures", "attention_figures", "drift_figures", "norm_figures"]
