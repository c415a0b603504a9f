"""An inspection in the terminal: a heading, a plain sentence and a small table for each part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.table import Table
from rich.text import Text

from langchain_softprompt.cli.output import in_one_line, people, say
from langchain_softprompt.reports import Cell, shown

if TYPE_CHECKING:
    from langchain_softprompt.inspection import Ablation, Attention, Description, Drift, Identity, Influence, Inspection, Nearest, Norms

_Layer = TypeVar("_Layer")

_MOST_ROWS = 10
_LONG = 60


def show_inspection(inspection: Inspection) -> None:
    """Print it for people."""
    _identity(inspection.identity)
    parts: list[tuple[Any, Callable[[Any], None]]] = [
        (inspection.norms, _norms),
        (inspection.drift, _drift),
        (inspection.ablation, _ablation),
        (inspection.influence, _influence),
        (inspection.attention, _attention),
        (inspection.description, _description),
        (inspection.nearest, _nearest),
    ]
    for part, show in parts:
        if part is not None:
            show(part)
    for note in inspection.notes:
        say(note)
    if inspection.left_out:
        _head("Left out", "")
        _table(("what", "why"), inspection.left_out.items())
    say(f"\nTook {inspection.seconds:.0f} s.")


def _identity(identity: Identity) -> None:
    _head("Identity", identity.reading)
    rows: list[tuple[Cell, ...]] = [
        ("soft prompt", identity.source),
        ("does", identity.description or None),
        ("type", f"{identity.kind}, {identity.holds}, stored as {identity.dtype}"),
        ("numbers in it", identity.parameters),
        ("bytes stored / compiled", f"{identity.stored_bytes:,} / {identity.compiled_bytes:,}"),
        ("compile time", f"{1000 * identity.compile_seconds:.1f} ms"),
        ("model", f"{identity.model}, {identity.model_dtype}"),
        ("made for", identity.made_for),
        ("method", identity.method),
        ("made on", identity.created or None),
        ("training data", identity.data or None),
    ]
    _table(("", ""), [row for row in rows if row[1] is not None])


def _norms(norms: Norms) -> None:
    _head("Norms", norms.reading)
    if norms.embeddings is not None:
        rows = norms.embeddings
        told = f"{min(rows.rows):.3g} to {max(rows.rows):.3g}"
        _table(("its rows", "vocabulary, 5 to 95 %"), [(told, f"{rows.low:.3g} to {rows.high:.3g}")])
    if norms.layers:
        chosen = _spread(norms.layers)
        _table(
            ("layer", *(layer.layer for layer in chosen)),
            [
                ("keys, times real", *(f"{layer.key_ratio:.2f}" for layer in chosen)),
                ("values, times real", *(f"{layer.value_ratio:.2f}" for layer in chosen)),
            ],
        )


def _drift(drift: Drift) -> None:
    _head("Drift", drift.reading)
    tokens = sorted(enumerate(drift.by_token), key=lambda pair: -pair[1].distance)[:_MOST_ROWS]
    _table(
        ("virtual token", *(number for number, _ in tokens)),
        [
            ("distance / length then", *(f"{move.distance:.3f}" for _, move in tokens)),
            ("cosine", *(f"{move.cosine:.3f}" for _, move in tokens)),
        ],
    )


def _ablation(ablation: Ablation) -> None:
    _head("Ablation", ablation.reading)
    worst = sorted(ablation.tokens, key=lambda token: -token.change.loss)[:_MOST_ROWS]
    rows = [(f"virtual token {token.name} {ablation.how}", token.change) for token in worst]
    rows += [(part.what, part.change) for part in ablation.parts]
    rows.append(("the soft prompt off", ablation.off))
    _table(
        ("without", "loss grows by", "± 2 errors", "right"),
        [
            (what, f"{change.loss:+.3f}", None if change.error is None else f"{2 * change.error:.3f}", f"{100 * change.right:+.0f} points")
            for what, change in rows
        ],
    )
    if ablation.note:
        say(f"{ablation.note[:1].upper()}{ablation.note[1:]}.")


def _influence(influence: Influence) -> None:
    _head("Influence", influence.reading)
    known = influence.from_hard_prompt is not None
    rows: list[tuple[Cell, ...]] = []
    for one in influence.inputs[:_MOST_ROWS]:
        cells: tuple[Cell, ...] = (_short(one.text), _short(one.answer), _short(one.bare_answer), one.first, one.along)
        rows.append((*cells, one.from_hard_prompt) if known else cells)
    columns = ("input", "with it", "without it", "KL first", "KL along", *(["from hard prompt"] if known else []))
    _table(columns, rows)


def _attention(attention: Attention) -> None:
    _head("Attention", f"{attention.reading} {attention.note}")
    chosen = _spread(attention.layers)
    _table(
        ("layer", *(layer.layer for layer in chosen)),
        [
            ("soft prompt", *(f"{layer.share:.2f}" for layer in chosen)),
            ("first virtual token", *(f"{layer.tokens[0]:.2f}" for layer in chosen)),
        ],
    )


def _description(description: Description) -> None:
    _head("Self-description", description.reading)
    rows: list[tuple[Cell, ...]] = []
    for statement in description.statements:
        share = f"{statement.restored.share:.0%}" if statement.restored is not None else None
        rows.append((statement.question, _short(statement.answer, 120) or "(nothing)", share))
    rows += [(f"({control.what})", _short(control.text, 120), f"{control.restored.share:.0%}") for control in description.controls]
    if description.hard_prompt is not None:
        rows.append(("(the hard prompt it was made with)", None, f"{description.hard_prompt.share:.0%}"))
    _table(("asked", "said", "restores"), rows)


def _nearest(nearest: Nearest) -> None:
    _head("Nearest words (not an explanation)", nearest.note)
    _table(("virtual token", *(str(number) for number in range(len(nearest.tokens[:_MOST_ROWS])))), _nearest_rows(nearest))


def _nearest_rows(nearest: Nearest) -> list[tuple[Cell, ...]]:
    tokens = nearest.tokens[:_MOST_ROWS]
    return [
        ("nearest", *(repr(near[0].token) for near in tokens)),
        ("cosine", *(f"{near[0].cosine:.2f}" for near in tokens)),
    ]


def _head(title: str, reading: str) -> None:
    people.print(Text(f"\n{title}", "bold"))
    if reading:
        say(reading)


def _table(columns: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> None:
    table = Table(show_header=any(column != "" for column in columns), box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(Text(shown(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(in_one_line(shown(cell))) for cell in row))
    people.print(table)


def _spread(layers: Sequence[_Layer]) -> list[_Layer]:
    """A handful of layers, from the first to the last."""
    if len(layers) <= _MOST_ROWS:
        return list(layers)
    last = len(layers) - 1
    return [layers[round(place * last / (_MOST_ROWS - 1))] for place in range(_MOST_ROWS)]


def _short(text: str, length: int = _LONG) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


__all__ = ["show_inspection"]
