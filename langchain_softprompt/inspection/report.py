"""The report of an inspection: one HTML page with pictures."""

from __future__ import annotations

from collections.abc import Iterator

from langchain_softprompt.inspection.ablation import Change
from langchain_softprompt.inspection.identity import Identity
from langchain_softprompt.inspection.inspection import Inspection
from langchain_softprompt.inspection.pictures import ablation_figures, attention_figures, drift_figures, norm_figures
from langchain_softprompt.reports import Cell, Code, Details, Facts, Level, Page, Part, Section, Table, Text, Verdict

_SHOWN_INPUTS = 8
_LONG = 160
_TITLES = {
    "norms": "Lengths beside those of real tokens",
    "drift": "Drift from what it started as",
    "ablation": "What is lost without parts of it",
    "influence": "On and off",
    "attention": "Where the model looks",
    "description": "What the model says of it",
    "nearest": "Nearest words: not an explanation",
}


def report_page(inspection: Inspection, *, title: str = "", command: str = "") -> Page:
    """Write an inspection down as a page.

    Args:
        inspection: What was found out.
        title: The page's heading.
        command: The command that made it, if there was one.
    """
    sections = [Section("What it is", inspection.identity.reading, list(_identity(inspection.identity)))]
    makers = {
        "norms": _norms,
        "drift": _drift,
        "ablation": _ablation,
        "influence": _influence,
        "attention": _attention,
        "description": _description,
        "nearest": _nearest,
    }
    for name, make in makers.items():
        part = getattr(inspection, name)
        if part is not None:
            note = "" if name in {"description", "nearest"} else part.reading
            sections.append(Section(_TITLES[name], note, list(make(inspection))))
    sections.append(Section("How it was made", "", list(_method(inspection, command))))
    environment = inspection.environment
    footer = f"Made by langchain-softprompt {environment.get('langchain_softprompt', '')}."
    return Page(title or f"Inside the soft prompt {_name(inspection.identity.source)}", _summary(inspection), sections, footer)


def _name(source: str) -> str:
    """The last part of a path, with the one before where that tells little."""
    parts = [part for part in source.replace("\\", "/").split("/") if part not in {"", "."}]
    few = 2 if parts[-1:] in (["best"], ["last"], ["initial"]) or not source.startswith(("/", ".", "~")) else 1
    return _short("/".join(parts[-few:]) or source, 80)


def _summary(inspection: Inspection) -> str:
    identity = inspection.identity
    told = [identity.description] if identity.description else []
    told.append(identity.reading)
    if inspection.influence is not None:
        told.append(inspection.influence.reading)
    return "\n\n".join(told)


def _identity(identity: Identity) -> Iterator[Part]:
    yield Facts(
        {
            "virtual tokens": identity.virtual_tokens,
            "numbers in it": identity.parameters,
            "bytes stored": identity.stored_bytes,
            "bytes compiled": identity.compiled_bytes,
            "compile time": f"{1000 * identity.compile_seconds:.1f} ms",
        }
    )
    made: Level = {True: "good", False: "bad", None: "caution"}[identity.same_model]  # type: ignore[assignment]
    said = {
        True: f"Made for the model it was inspected on, {identity.model}: the fingerprints are the same.",
        False: f"Made for {identity.made_for}, inspected on {identity.model}: the fingerprints differ.",
        None: "It does not say for which weights it was made, so nobody can tell whether this is its model.",
    }
    yield Verdict(made, said[identity.same_model])
    rows: list[list[Cell]] = [
        ["from", identity.source],
        ["commit", identity.revision],
        ["PEFT type", identity.kind],
        ["holds", identity.holds],
        ["task of a multitask prompt", identity.task],
        ["stored as", identity.dtype],
        ["model", f"{identity.model} ({identity.model_dtype})"],
        ["made for", identity.made_for],
        ["method", identity.method],
        ["made on", identity.created or None],
        ["training data", identity.data or None],
        ["training rows", identity.training_rows],
        ["probes", identity.probes],
        ["content", identity.content_hash],
    ]
    rows += [[f"training: {name.replace('_', ' ')}", value] for name, value in identity.training.items()]
    rows += [[f"recorded score: {name.replace('_', ' ')}", value] for name, value in identity.scores.items()]
    yield Details("All facts", [Table(["what", "value"], [row for row in rows if row[1] is not None], numeric=[])])
    if identity.hard_prompt:
        yield Details("The hard prompt it was made with", [Code("\n\n".join(identity.hard_prompt))])


def _norms(inspection: Inspection) -> Iterator[Part]:
    assert inspection.norms is not None  # noqa: S101 - the caller looked
    yield from norm_figures(inspection.norms)
    if inspection.norms.layers:
        columns = ["layer", "keys: times real", "values: times real"]
        rows = [[layer.layer, layer.key_ratio, layer.value_ratio] for layer in inspection.norms.layers]
        caption = f"Median length over virtual tokens (but for the first), as a multiple of that of {inspection.norms.compared_with}."
        yield Details("Layer by layer", [Table(columns, rows, caption)])


def _drift(inspection: Inspection) -> Iterator[Part]:
    assert inspection.drift is not None  # noqa: S101
    yield from drift_figures(inspection.drift)
    rows = [[number, move.distance, move.cosine] for number, move in enumerate(inspection.drift.by_token)]
    caption = "Distance: how far it has moved, as a share of its length then. Cosine: 1 is no turn. Medians over layers, keys and values."
    yield Details("Token by token", [Table(["virtual token", "distance", "cosine"], rows, caption, bars=["distance"])])


def _ablation(inspection: Inspection) -> Iterator[Part]:
    ablation = inspection.ablation
    assert ablation is not None  # noqa: S101
    yield Facts(
        {
            "loss with it, nats a token": ablation.loss,
            "loss without it": ablation.loss + ablation.off.loss,
            "answers exactly right with it": f"{ablation.right:.0%}",
            "without it": f"{max(0.0, ablation.right + ablation.off.right):.0%}",
            "samples": ablation.samples,
        }
    )
    yield from ablation_figures(ablation)
    if ablation.note:
        yield Text(f"{ablation.note[:1].upper()}{ablation.note[1:]}.")
    if ablation.parts:
        rows = [[part.what, *_cells(part.change)] for part in ablation.parts]
        yield Table(
            ["all virtual tokens at once", "loss grows by", "standard error", "answers right"],
            rows,
            "Keys say where to look, values what is read there.",
        )
    rows = [[token.name, *_cells(token.change)] for token in ablation.tokens]
    table = Table(["virtual token", "loss grows by", "standard error", "answers right"], rows, f"Each virtual token {ablation.how}.")
    yield Details("Token by token", [table])


def _cells(change: Change) -> list[Cell]:
    return [change.loss, change.error, f"{100 * change.right:+.0f} points"]


def _influence(inspection: Inspection) -> Iterator[Part]:
    influence = inspection.influence
    assert influence is not None  # noqa: S101
    yield Text(f"Watched on {inspection.samples}. Divergences are KL(with || without) in nats.")
    columns = ["input", "answer with it", "answer without it", "first token", "along the answer"]
    known = influence.from_hard_prompt is not None
    rows: list[list[Cell]] = []
    for one in influence.inputs:
        cells: list[Cell] = [_short(one.text), _short(one.answer), _short(one.bare_answer), one.first, one.along]
        rows.append([*cells, one.from_hard_prompt] if known else cells)
    columns += ["along, from the hard prompt"] if known else []
    yield Table(columns, rows[:_SHOWN_INPUTS], "How far the model's next-token distribution moves when the soft prompt is switched on.")
    if len(rows) > _SHOWN_INPUTS:
        yield Details(f"{len(rows) - _SHOWN_INPUTS} more inputs", [Table(columns, rows[_SHOWN_INPUTS:])])
    tokens: list[list[Cell]] = []
    for one in influence.inputs[:_SHOWN_INPUTS]:
        with_it, without = (", ".join(f"{likely.token!r} {likely.probability:.2f}" for likely in side) for side in (one.on, one.off))
        tokens.append([_short(one.text, 80), with_it, without])
    yield Details("The likeliest first tokens", [Table(["input", "with it", "without it"], tokens)])


def _attention(inspection: Inspection) -> Iterator[Part]:
    assert inspection.attention is not None  # noqa: S101
    yield Verdict("caution", inspection.attention.note)
    yield from attention_figures(inspection.attention)


def _description(inspection: Inspection) -> Iterator[Part]:
    description = inspection.description
    assert description is not None  # noqa: S101
    yield Verdict("good" if description.works else "caution", description.reading)
    rows: list[list[Cell]] = []
    for statement in description.statements:
        share, same = (None, None) if statement.restored is None else (statement.restored.share, statement.restored.agreement)
        rows.append([statement.question, _short(statement.answer) or "(nothing)", _percent(share), _percent(same)])
    for control in description.controls:
        told = (control.what, _short(control.text), _percent(control.restored.share), _percent(control.restored.agreement))
        rows.append([f"for comparison: {told[0]}", *told[1:]])
    if description.hard_prompt is not None:
        hard = description.hard_prompt
        rows.append(["for comparison: the hard prompt it was made with", None, _percent(hard.share), _percent(hard.agreement)])
    columns = ["asked", "said", "effect restored", "answers the same"]
    caption = (
        f"Each text was used as the hard prompt on {description.inputs} inputs. Effect restored: 1 - KL(soft prompt || text) / "
        "KL(soft prompt || nothing) along the soft prompt's own answers."
    )
    yield Table(columns, rows, caption, numeric=["effect restored", "answers the same"])


def _nearest(inspection: Inspection) -> Iterator[Part]:
    nearest = inspection.nearest
    assert nearest is not None  # noqa: S101
    yield Verdict("caution", nearest.note)
    yield Text(f"Compared are {nearest.of}.")
    rows: list[list[Cell]] = [[number, *(f"{one.token!r} {one.cosine:.2f}" for one in near)] for number, near in enumerate(nearest.tokens)]
    width = max(len(row) for row in rows)
    columns = ["virtual token", "nearest", *(f"{place}." for place in range(2, width))]
    yield Details(
        "Token by token", [Table(columns[:width], [[*row, *[None] * (width - len(row))] for row in rows], numeric=["virtual token"])]
    )


def _method(inspection: Inspection, command: str) -> Iterator[Part]:
    for note in inspection.notes:
        yield Text(note)
    if inspection.left_out:
        rows: list[list[Cell]] = [[_TITLES.get(name, name), f"{why[:1].upper()}{why[1:]}."] for name, why in inspection.left_out.items()]
        yield Table(["left out", "why"], rows)
    facts: list[list[Cell]] = [[name.replace("_", " "), value] for name, value in inspection.environment.items()]
    facts.append(["seconds", round(inspection.seconds, 1)])
    yield Table(["what", "value"], facts, numeric=[])
    if command:
        yield Text("Made by:")
        yield Code(command)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"


def _short(text: str, length: int = _LONG) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


__all__ = ["report_page"]
