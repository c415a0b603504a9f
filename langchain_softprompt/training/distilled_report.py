"""A distillation's page: what the short soft prompt has of the long prompt, and what it saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_softprompt.reports import Cell, Figure, Line, Section, Table, Text, Verdict, figure_or_note, line_chart
from langchain_softprompt.training.run_log import SMOOTHED, Log, best_place, looks, smoothed

_MEMORISED, _SELDOM = 0.5, 0.5

Numbers = Mapping[str, float]


def distilled_summary(training: Mapping[str, Any], scores: Numbers, virtual_tokens: int, held_out: int, measured: Numbers) -> str:
    """What came of it, for a reader in a hurry.

    Args:
        training: The manifest's facts of the training.
        scores: The manifest's scores.
        virtual_tokens: Length of the soft prompt.
        held_out: Texts held out.
        measured: What was measured after the run, by the names of `Distillation`; nothing of it has to be there.
    """
    long = int(training["teacher_tokens"])
    fewer = f", {long - virtual_tokens} fewer to read before each text" if virtual_tokens < long else ""
    told = [f"A long prompt of {long} tokens became a soft prompt of {virtual_tokens} virtual tokens{fewer}."]
    told.append(
        f"On {held_out} texts that it did not learn from, the KL divergence from the long prompt went from {scores['initial_kl']:.3f} to "
        f"{scores['kl']:.3f} nats a token, and the share answered exactly as with the long prompt from {scores['initial_agreement']:.1%} "
        f"to {scores['agreement']:.1%}."
    )
    if "soft_seconds" in measured:
        told.append(
            f"The first token takes {measured['soft_seconds'] * 1e3:.1f} ms with it, and {measured['prompt_seconds'] * 1e3:.1f} ms with "
            "the long prompt, nothing remembered."
        )
    if "test_rows" in measured:
        told.append(
            f"On {measured['test_rows']:.0f} rows with answers the long prompt is exactly right on {measured['prompt_exact_match']:.1%} "
            f"and the soft prompt on {measured['soft_exact_match']:.1%}."
        )
    else:
        told.append("Whether its answers are right was not measured; distill --resume with --test and --target does that.")
    minutes = float(training.get("seconds") or 0) / 60
    done = f"{training.get('steps_done')} steps in {minutes:.1f} minutes; the best was step {training.get('best_step')}."
    return f"{' '.join(told)}\n\n{done} The texts held out chose the step, so what is told of them flatters, the more the fewer they are."


def distilled_sections(
    training: Mapping[str, Any], scores: Numbers, virtual_tokens: int, log: Log, measured: Numbers, *, finished: bool = True
) -> list[Section]:
    """What came of it, how it went, and the looks; the arguments are those of `distilled_summary`, and the run's log."""
    stopped_early = not finished and training.get("best_step") == 0
    return [
        Section(
            "Beside the long prompt",
            parts=[*([] if stopped_early else _verdicts(training, scores, log)), _beside(training, scores, virtual_tokens, measured)],
        ),
        Section("How it went", parts=_curves(training, scores, log)),
        Section("The looks at the texts held out", parts=[_looks(training, log)]),
    ]


def _verdicts(training: Mapping[str, Any], scores: Numbers, log: Log) -> list[Verdict]:
    if not looks(log):  # Stopped so early that there is nothing to say.
        return []
    found = []
    before, after = scores["initial_kl"], scores["kl"]
    if training.get("best_step") == 0:
        found.append(Verdict("bad", "No step was nearer to the long prompt than the start. Try a lower learning rate, or more texts."))
    elif after < before:
        found.append(Verdict("good", "On texts it did not learn from it is nearer to the long prompt than it was before the first step."))
    else:
        text = f"By KL ({before:.3f}, then {after:.3f}) it is no nearer to the long prompt than before the first step. Try more texts."
        found.append(Verdict("bad", text))
    if training.get("best_step") and training.get("best_step") == training.get("max_steps"):
        found.append(Verdict("caution", "The last step was the best: more steps may bring it nearer still."))
    if scores["agreement"] < _SELDOM:
        text = (
            f"Only {scores['agreement']:.1%} of the texts held out are answered word for word as with the long prompt. More steps, texts "
            "or virtual tokens may help; where answers are long and free, few are equal all the same."
        )
        found.append(Verdict("caution", text))
    learned = _learned(training, log)
    if learned is not None and learned < _MEMORISED * after:
        text = (
            f"At the best step the KL on texts it learns from ({learned:.3f}) is far below that on texts held out ({after:.3f}): "
            "it learns texts by heart. More texts help, or fewer steps or virtual tokens."
        )
        found.append(Verdict("caution", text))
    return found


def _learned(training: Mapping[str, Any], log: Log) -> float | None:
    """The KL of the steps up to the best one."""
    until = [entry for entry in log if entry["step"] <= int(training.get("best_step") or 0)]
    return smoothed(until)[-1] if until else None


def _beside(training: Mapping[str, Any], scores: Numbers, virtual_tokens: int, measured: Numbers) -> Table:
    rows: list[list[Cell]] = [
        ["tokens read before each text", int(training["teacher_tokens"]), virtual_tokens, virtual_tokens],
        ["texts held out: KL divergence from the long prompt, nats a token", None, scores["initial_kl"], scores["kl"]],
        [
            "texts held out: answered exactly as with the long prompt",
            None,
            f"{scores['initial_agreement']:.1%}",
            f"{scores['agreement']:.1%}",
        ],
    ]
    if "soft_seconds" in measured:
        times = f"{measured['prompt_seconds'] * 1e3:.1f}", None, f"{measured['soft_seconds'] * 1e3:.1f}"
        rows.append(["time to the first token, ms", *times])
    if "test_rows" in measured:
        count = f"{measured['test_rows']:.0f} rows with answers"
        right = f"{measured['prompt_exact_match']:.1%}", None, f"{measured['soft_exact_match']:.1%}"
        rows.append([f"{count}: exactly right", *right])
        rows.append([f"{count}: answered exactly as with the long prompt", None, None, f"{measured['test_agreement']:.1%}"])
    numbers = ["long prompt", "soft prompt before its first step", "soft prompt"]
    caption = (
        "KL is 0 where each next token is as likely as with the long prompt. The time is a median over texts read alone, with nothing "
        "remembered of earlier ones. A dash: not measured."
    )
    return Table(["what", *numbers], rows, caption, numeric=numbers)


def _curves(training: Mapping[str, Any], scores: Numbers, log: Log) -> Sequence[Figure | Text]:
    if not log:
        return []
    steps, learned = [entry["step"] for entry in log], smoothed(log)
    best = int(training.get("best_step") or 0)
    ends = {0: scores["initial_kl"]} | ({best: scores["kl"]} if best else {})
    lines = [
        Line(f"texts it learns from, mean of {SMOOTHED} steps", steps, learned),
        Line("texts held out, at the start and the best step", list(ends), list(ends.values())),
    ]
    every = min(*learned, *ends.values()) > 0
    found = [
        figure_or_note(
            lambda: line_chart(lines, x_label="step", y_label="KL from the long prompt, nats a token", log_y=every),
            "KL divergence from the long prompt, which is what a step makes smaller. Lower is nearer.",
        )
    ]
    looked = looks(log)
    if looked:
        at = [entry["step"] for entry in looked]
        shares = [100 * share for share in (scores["initial_agreement"], *(entry["validation_exact_match"] for entry in looked))]
        agreement = Line("texts held out", [0, *at], shares)
        losses = Line("texts held out", at, [entry["validation_loss"] for entry in looked])
        found += [
            figure_or_note(
                lambda: line_chart([agreement], x_label="step", y_label="same answer, %"),
                "Share of texts held out that are answered exactly as with the long prompt.",
            ),
            figure_or_note(
                lambda: line_chart([losses], x_label="step", y_label="cross-entropy, nats a token"),
                "Cross-entropy on the long prompt's answers to the texts held out. It is another quantity than KL, and not to be compared "
                "with it: the long prompt itself does not come to 0 on its own answers.",
            ),
        ]
    return found


def _looks(training: Mapping[str, Any], log: Log) -> Table | Text:
    looked = looks(log)
    if not looked:
        return Text("The run was stopped before the first look.")
    names = ("step", "loss", "validation_loss", "validation_exact_match", "learning_rate")
    columns = [
        "step",
        "KL on this step's texts",
        "cross-entropy on the long prompt's answers, held out",
        "same answer, held out",
        "learning rate",
    ]
    caption = "The best step stands out. KL and cross-entropy are different quantities: look down a column, not across."
    return Table(columns, [[entry[name] for name in names] for entry in looked], caption, highlighted=best_place(log, training))


__all__ = ["distilled_sections", "distilled_summary"]
