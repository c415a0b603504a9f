"""What ``langchain-softprompt evaluate`` was asked, read and checked before the work, not after it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt.cli.sources import load_soft_prompt
from langchain_softprompt.errors import EvaluationError

if TYPE_CHECKING:
    from langchain_softprompt.data import HardPrompt
    from langchain_softprompt.evaluation import Arm, Metric
    from langchain_softprompt.soft_prompt import SoftPrompt


def read_limits(asked: Sequence[str]) -> dict[str, float]:
    """``metric=number`` texts as numbers by metric."""
    limits = {}
    for text in asked:
        name, equals, number = text.rpartition("=")
        try:
            limits[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            msg = f"fail-under: expected metric=number, for instance accuracy=0.8, found {text!r}."
            raise EvaluationError(msg)
    return limits


def make_folders(files: Mapping[str, Path | None]) -> None:
    """Make the folders that files will be written to."""
    for name, file in files.items():
        if file is not None and file.is_dir():
            msg = f"{name}: {file} can't be written: it is a folder. Name a file in it."
            raise EvaluationError(msg)
        try:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{name}: can't make the folder of {file}: {error}. Choose another file."
            raise EvaluationError(msg) from error


def read_template(template: Path | None, input_field: str | None) -> HardPrompt | None:
    """The hard prompt of a file, if there is one."""
    from langchain_softprompt.data import HardPrompt

    return HardPrompt.from_file(template, input_field=input_field) if template is not None else None


def load_arms(sources: Sequence[str], prompt: HardPrompt | None) -> list[Arm]:
    """Soft prompts, each with the messages its manifest says to send, or else those of the template."""
    from langchain_softprompt.evaluation import soft_prompt_arm

    names = _names(sources)
    arms = []
    for source, name in zip(sources, names, strict=True):
        soft_prompt = load_soft_prompt(source)
        says = soft_prompt.manifest is not None and soft_prompt.manifest.input_messages
        arms.append(soft_prompt_arm(soft_prompt, prompt=None if says else prompt, name=name))
    return arms


def _names(sources: Sequence[str]) -> list[str]:
    """Short names that differ: the last part of a path, with the one before where that tells little."""
    for count in (1, 2, 3):
        names = []
        for source in sources:
            parts = [part for part in source.replace("\\", "/").split("/") if part not in {"", "."}]
            more = count + 1 if parts[-1:] in (["best"], ["last"], ["initial"]) else count
            names.append("/".join(parts[-more:]) or source)
        if len(set(names)) == len(names):
            return names
    return list(sources)


def trained_target(soft_prompts: Sequence[SoftPrompt]) -> str:
    """The field that a soft prompt was trained to answer with."""
    for soft_prompt in soft_prompts:
        named = soft_prompt.manifest.training.get("target") if soft_prompt.manifest is not None else None
        if isinstance(named, str) and named:
            return named
    msg = "target: the soft prompt does not say which field it was trained to answer with. Name it: --target label."
    raise EvaluationError(msg)


def read_data(file: Path, soft: Sequence[Arm], prompt: HardPrompt | None, target: str) -> list[dict[str, str]]:
    """Rows with every field that some arm reads, and the target."""
    from langchain_softprompt.data import read_rows
    from langchain_softprompt.evaluation import hard_prompt_of

    fields = [field for arm in soft for field in arm.fields]
    prompts = [prompt] if prompt is not None else [hard_prompt_of(arm.soft_prompt) for arm in soft if arm.soft_prompt is not None]
    fields += [field for hard in prompts if hard is not None for field in hard.fields]
    return read_rows(file, list(dict.fromkeys([*fields, target])))


def choose_labels(
    labels: str | None, known: Sequence[Mapping[str, str]], learned: Sequence[Mapping[str, str]], target: str
) -> tuple[list[str] | None, dict[str, str]]:
    """The labels asked for, or all there are in the data where it is labelled: also those of rows that are not drawn."""
    from langchain_softprompt.evaluation import guess_task

    if labels is not None:
        file = Path(labels)
        try:
            text = file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else labels.split(",")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"labels: {labels} can't be read: {error}."
            raise EvaluationError(msg) from error
        return [label.strip() for label in text if label.strip()], {"labels_from": "given"}
    wanted = [row[target] for row in (*known, *learned)]
    if guess_task(wanted) != "classification":
        return None, {}
    return sorted(set(wanted)), {"labels_from": "all rows of the data" + (" and the training data" if learned else "")}


def chosen_metrics(
    names: Sequence[str], functions: Sequence[str], wanted: Sequence[str], *, labelled: bool, ignore_case: bool
) -> list[Metric]:
    """The metrics asked for; functions alone come before those that fit the answers."""
    from langchain_softprompt.evaluation import guess_task, load_function
    from langchain_softprompt.evaluation.metrics import choose_metrics

    if functions and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # As `python -m` does: the user's module lies in this folder.
    task = "classification" if labelled else guess_task(wanted)
    made = [load_function(place) for place in functions]
    by_task = choose_metrics(task, ignore_case=ignore_case) if functions and not names else []
    return choose_metrics(task, [*names, *made, *by_task], ignore_case=ignore_case)


def check_limits(limits: Mapping[str, float], metrics: Sequence[Metric]) -> None:
    """Refuse a limit on what is not measured."""
    names = [metric.name for metric in metrics]
    strange = next((name for name in limits if name not in names), None)
    if strange is not None:
        msg = f"fail-under: {strange} is not measured here. Measured are: {', '.join(names)}; ask for more with --metric."
        raise EvaluationError(msg)


def check_records(soft_prompts: Sequence[SoftPrompt]) -> None:
    """Refuse soft prompts that scores can't be written into."""
    for soft_prompt in soft_prompts:
        if soft_prompt.manifest is None or soft_prompt.folder is None:
            msg = f"record: {soft_prompt.source} is no folder on this machine with a manifest, so scores can't be written into it."
            raise EvaluationError(msg)
