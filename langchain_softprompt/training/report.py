"""A run in pictures and tables: one page that opens from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_softprompt.reports import Facts, Figure, Line, Page, Section, Table, Text, Verdict, figure_or_note, line_chart
from langchain_softprompt.soft_prompt import SoftPrompt

_SMOOTHED = 20
_MEMORISED = 0.5


def run_report(soft_prompt: SoftPrompt, log: Sequence[Mapping[str, Any]], *, finished: str) -> Page:
    """Tell a run to somebody who was not there.

    Args:
        soft_prompt: The best soft prompt, with its manifest.
        log: The lines of the run's log.
        finished: Why the run ended; empty where it was stopped.
    """
    manifest = soft_prompt.manifest
    training: Mapping[str, Any] = manifest.training if manifest else {}
    scores = manifest.scores if manifest else {}
    sections = [
        Section("How it went", parts=[*_verdicts(training, scores, log, finished), *_curves(log, training)]),
        Section("The looks at the validation rows", parts=[_looks(log, training)]),
        Section("What was trained", parts=_what(soft_prompt, training)),
    ]
    title = (manifest.description if manifest else "") or "A soft prompt's training"
    return Page(title, summary=_summary(training, scores), sections=sections)


def _summary(training: Mapping[str, Any], scores: Mapping[str, float]) -> str:
    minutes = float(training.get("seconds") or 0) / 60
    done = f"{training.get('steps_done')} steps in {minutes:.1f} minutes; the best was step {training.get('best_step')}."
    if not scores:
        return f"{done} No rows were set aside, so the last step was kept."
    return (
        f"{done} On the validation rows the loss went from {scores['initial_validation_loss']:.3f} to {scores['validation_loss']:.3f}, "
        f"and the share of answers that are exactly right from {scores['initial_validation_exact_match']:.1%} to "
        f"{scores['validation_exact_match']:.1%}. "
        "These rows chose the step, so judge it on others: langchain-softprompt evaluate."
    )


def _verdicts(training: Mapping[str, Any], scores: Mapping[str, float], log: Sequence[Mapping[str, Any]], finished: str) -> list[Verdict]:
    found = []
    if not finished:
        found.append(Verdict("caution", "The run was stopped before its end; it can be gone on with (--resume)."))
    if scores and training.get("best_step") == 0:
        found.append(Verdict("bad", "No step was better than the start. Try a lower learning rate, or more rows."))
    elif scores and training.get("best_step") == training.get("max_steps"):
        found.append(Verdict("caution", "The last step was the best: more steps may make it better still."))
    elif scores:
        found.append(Verdict("good", "It got better on rows it did not learn from, and the best step was kept."))
    learned, looked = _last_mean(log), scores.get("validation_loss")
    if looked and learned is not None and learned < _MEMORISED * looked:
        text = (
            f"At the end the loss on training rows ({learned:.3f}) is far below that on validation rows ({looked:.3f}): "
            "it learns rows by heart. More rows help, or fewer steps or virtual tokens."
        )
        found.append(Verdict("caution", text))
    return found


def _last_mean(log: Sequence[Mapping[str, Any]]) -> float | None:
    last = [entry["loss"] for entry in log[-_SMOOTHED:] if "loss" in entry]
    return sum(last) / len(last) if last else None


def _curves(log: Sequence[Mapping[str, Any]], training: Mapping[str, Any]) -> list[Figure | Text]:
    if not log:
        return []
    steps = [entry["step"] for entry in log]
    losses = [entry["loss"] for entry in log]
    smooth = [sum(losses[max(0, at - _SMOOTHED + 1) : at + 1]) / min(at + 1, _SMOOTHED) for at in range(len(losses))]
    looks = [entry for entry in log if "validation_loss" in entry]
    lines = [Line(f"training rows, mean of {_SMOOTHED} steps", steps, smooth)]
    marked = None
    if looks:
        lines.append(Line("validation rows", [entry["step"] for entry in looks], [entry["validation_loss"] for entry in looks]))
        best = next((entry for entry in looks if entry["step"] == training.get("best_step")), None)
        marked = (best["step"], best["validation_loss"], "best") if best else None
    found = [
        figure_or_note(
            lambda: line_chart(lines, x_label="step", y_label="loss, nats a token", log_y=True, marked=marked),
            "Loss on the answers' tokens. Lower is better; where the lines part, rows are being learned by heart.",
        )
    ]
    if looks:
        shares = Line("validation rows", [entry["step"] for entry in looks], [entry["validation_exact_match"] * 100 for entry in looks])
        found.append(
            figure_or_note(
                lambda: line_chart([shares], x_label="step", y_label="exactly right, %"),
                "Share of validation rows whose answer greedy decoding would write exactly.",
            )
        )
    return found


def _looks(log: Sequence[Mapping[str, Any]], training: Mapping[str, Any]) -> Table | Text:
    looks = [entry for entry in log if "validation_loss" in entry]
    if not looks:
        return Text("No rows were set aside.")
    rows = [
        [entry["step"], entry["loss"], entry["validation_loss"], entry["validation_exact_match"], entry["learning_rate"]] for entry in looks
    ]
    best = next((place for place, entry in enumerate(looks) if entry["step"] == training.get("best_step")), None)
    columns = ["step", "training loss", "validation loss", "exact match", "learning rate"]
    return Table(columns, rows, caption="The best step stands out.", highlighted=best)


def _what(soft_prompt: SoftPrompt, training: Mapping[str, Any]) -> list[Facts | Table]:
    manifest = soft_prompt.manifest
    facts: dict[str, Any] = {"type": soft_prompt.kind, "virtual tokens": soft_prompt.num_virtual_tokens}
    if manifest is not None:
        facts |= {"frozen model": manifest.base_model.id, "fingerprint": manifest.base_model.fingerprint}
        if manifest.data is not None:
            facts |= {
                "rows": manifest.data.rows,
                "validation rows": manifest.data.validation_rows,
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
            Table(["setting", "value"], [[name, str(value)] for name, value in training.items()], caption="Settings."),
        ]
    return [Facts(facts)]


__all__ = ["run_report"]
