"""A run in pictures and tables: one page that opens from disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_softprompt.reports import Facts, Figure, Line, Page, Section, Table, Text, Verdict, figure_or_note, line_chart
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training.distilled_report import distilled_sections, distilled_summary
from langchain_softprompt.training.folds_report import expectation, folds_section, is_fold_fact
from langchain_softprompt.training.run_log import SMOOTHED, Log, best_place, looks, smoothed

_MEMORISED = 0.5


def run_report(soft_prompt: SoftPrompt, log: Log, *, finished: str, measured: Mapping[str, float] | None = None) -> Page:
    """Tell a run to somebody who was not there.

    Args:
        soft_prompt: The best soft prompt, with its manifest.
        log: The lines of the run's log.
        finished: Why the run ended; empty where it was stopped.
        measured: What was measured after the run, where there is anything: see `distilled_summary`.
    """
    manifest = soft_prompt.manifest
    training: Mapping[str, Any] = manifest.training if manifest else {}
    scores = manifest.scores if manifest else {}
    if manifest is not None and _is_distilled(soft_prompt):
        length, held_out = soft_prompt.num_virtual_tokens, manifest.data.validation_rows if manifest.data else 0
        title = "A long prompt, distilled"
        summary = distilled_summary(training, scores, length, held_out, measured or {})
        sections = distilled_sections(training, scores, length, log, measured or {}, finished=bool(finished))
    else:
        title = "A soft prompt's training"
        summary = _summary(training, scores)
        sections = [
            *folds_section(training),
            Section("How it went", parts=[*_verdicts(training, scores, log, finished=bool(finished)), *_curves(log, training)]),
            Section("The looks at the validation rows", parts=[_looks(log, training)]),
        ]
    if not finished:
        stopped = Verdict("caution", "The run was stopped before its end; it can be gone on with (--resume).")
        sections = [Section("Stopped", parts=[stopped]), *sections]
    sections = [*sections, Section("What was trained", parts=_what(soft_prompt, training))]
    return Page((manifest.description if manifest else "") or title, summary=summary, sections=sections)


def _is_distilled(soft_prompt: SoftPrompt) -> bool:
    return soft_prompt.manifest is not None and soft_prompt.manifest.distilled


def _summary(training: Mapping[str, Any], scores: Mapping[str, float]) -> str:
    minutes = float(training.get("seconds") or 0) / 60
    done = f"{training.get('steps_done')} steps in {minutes:.1f} minutes; the best was step {training.get('best_step')}."
    if not scores:
        return f"{done} No rows were set aside, so the last step was kept. {expectation(training)}".rstrip()
    return (
        f"{done} On the validation rows the loss went from {scores['initial_validation_loss']:.3f} to {scores['validation_loss']:.3f}, "
        f"and the share of answers that are exactly right from {scores['initial_validation_exact_match']:.1%} to "
        f"{scores['validation_exact_match']:.1%}. "
        "These rows chose the step, so judge it on others: langchain-softprompt evaluate."
    )


def _verdicts(training: Mapping[str, Any], scores: Mapping[str, float], log: Log, *, finished: bool) -> list[Verdict]:
    if not finished and training.get("best_step") == 0:  # Stopped so early that there is nothing to say.
        return []
    found = []
    if scores and training.get("best_step") == 0:
        found.append(Verdict("bad", "No step was better than the start. Try a lower learning rate, or more rows."))
    elif scores and training.get("best_step") == training.get("max_steps"):
        found.append(Verdict("caution", "The last step was the best: more steps may make it better still."))
    elif scores:
        found.append(Verdict("good", "It got better on rows it did not learn from, and the best step was kept."))
    learned, looked = smoothed(log)[-1] if log else None, scores.get("validation_loss")
    if looked and learned is not None and learned < _MEMORISED * looked:
        text = (
            f"At the end the loss on training rows ({learned:.3f}) is far below that on validation rows ({looked:.3f}): "
            "it learns rows by heart. More rows help, or fewer steps or virtual tokens."
        )
        found.append(Verdict("caution", text))
    return found


def _curves(log: Log, training: Mapping[str, Any]) -> list[Figure | Text]:
    if not log:
        return []
    steps = [entry["step"] for entry in log]
    looked = looks(log)
    lines = [Line(f"training rows, mean of {SMOOTHED} steps", steps, smoothed(log))]
    marked = None
    if looked:
        lines.append(Line("validation rows", [entry["step"] for entry in looked], [entry["validation_loss"] for entry in looked]))
        best = best_place(log, training)
        marked = (looked[best]["step"], looked[best]["validation_loss"], "best") if best is not None else None
    found = [
        figure_or_note(
            lambda: line_chart(lines, x_label="step", y_label="loss, nats a token", log_y=True, marked=marked),
            "Loss on the answers' tokens. Lower is better; where the lines part, rows are being learned by heart.",
        )
    ]
    if looked:
        shares = Line("validation rows", [entry["step"] for entry in looked], [entry["validation_exact_match"] * 100 for entry in looked])
        found.append(
            figure_or_note(
                lambda: line_chart([shares], x_label="step", y_label="exactly right, %"),
                "Share of validation rows whose answer greedy decoding would write exactly.",
            )
        )
    return found


def _looks(log: Log, training: Mapping[str, Any]) -> Table | Text:
    looked = looks(log)
    if not looked:
        return Text("No rows were set aside.")
    names = ("step", "loss", "validation_loss", "validation_exact_match", "learning_rate")
    columns = ["step", "training loss", "validation loss", "exact match", "learning rate"]
    rows = [[entry[name] for name in names] for entry in looked]
    return Table(columns, rows, caption="The best step stands out.", highlighted=best_place(log, training))


def _what(soft_prompt: SoftPrompt, training: Mapping[str, Any]) -> list[Facts | Table]:
    manifest = soft_prompt.manifest
    facts: dict[str, Any] = {"type": soft_prompt.kind, "virtual tokens": soft_prompt.num_virtual_tokens}
    if manifest is not None:
        facts |= {"frozen model": manifest.base_model.id, "fingerprint": manifest.base_model.fingerprint}
        if manifest.data is not None:
            rows, apart = ("texts", "of these held out") if _is_distilled(soft_prompt) else ("rows", "validation rows")
            facts |= {
                rows: manifest.data.rows,
                apart: manifest.data.validation_rows,
                "data": manifest.data.source,
                "licence": manifest.data.licence,
                "digest of the rows": manifest.data.digest,
            }
        prompt = Table(
            ["role", "template"], [[message.role, message.template] for message in manifest.hard_prompt], caption="The hard prompt."
        )
        return [
            Facts(facts),
            prompt,
            Table(
                ["setting", "value"],
                [[name, str(value)] for name, value in training.items() if not is_fold_fact(name)],
                caption="Settings.",
            ),
        ]
    return [Facts(facts)]


__all__ = ["run_report"]
