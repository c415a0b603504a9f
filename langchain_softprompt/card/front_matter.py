"""Front matter: what the Hub reads of a card. All of it goes through huggingface_hub's own classes; no YAML is written by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_softprompt.card.markdown import one_line
from langchain_softprompt.card.scores import Scores, own_scores
from langchain_softprompt.hub import is_repo_id

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

LIBRARY = "peft"
RELATION = "adapter"
_METHOD_TAGS = {
    "PROMPT_TUNING": "prompt-tuning",
    "P_TUNING": "p-tuning",
    "CPT": "cpt",
    "MULTITASK_PROMPT_TUNING": "multitask-prompt-tuning",
    "PREFIX_TUNING": "prefix-tuning",
    "CARTRIDGE": "cartridge",
}
_DATASET = re.compile(r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)datasets/([^\s/?#]+/[^\s/?#@]+)", re.IGNORECASE)
_ON_THE_HUB = {"macro_f1": "f1"}
_TASKS = {"classification": "text-classification"}


def base_tag(base_model: str) -> str:
    """The tag by which the Hub finds the adapters of a model."""
    return f"base_model:{RELATION}:{base_model}"


def hub_dataset(source: str) -> str | None:
    """The data set's id where a source is an address on the Hub; a plain ``a/b`` is as likely a folder, so it is none."""
    found = _DATASET.match(source)
    return found[1] if found and is_repo_id(found[1]) else None


def make_front_matter(
    repo_id: str, *, kind: str, base_model: str, licence: str | None = None, dataset: str | None = None, scores: Scores | None = None
) -> ModelCardData:
    """Make a card's front matter.

    Args:
        repo_id: The soft prompt's own repository.
        kind: Its PEFT type.
        base_model: The base model on the Hub.
        licence: The Hub's identifier of its licence.
        dataset: The Hub's id of the data it was trained on.
        scores: Its scores.
    """
    from huggingface_hub import ModelCardData

    tags = [base_tag(base_model), _METHOD_TAGS[kind], "soft-prompt", "langchain", "langchain-softprompt"]
    results = _results(scores) if scores is not None else []
    return ModelCardData(
        base_model=base_model,
        datasets=[dataset] if dataset else None,
        eval_results=results or None,
        library_name=LIBRARY,
        license=licence,
        model_name=repo_id if results else None,
        pipeline_tag="text-generation",
        tags=tags,
        base_model_relation=RELATION,
    )


def _results(scores: Scores) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    dataset = hub_dataset(scores.report.source)
    # The format asks for a data set's id, and there is one on the Hub only for some.
    name = dataset or one_line(scores.source, 200) or "not recorded"
    task = _TASKS.get(str(scores.report.settings.get("task")), "text-generation")
    folds = f", {scores.folds}-fold cross-validation" if scores.folds else ""
    return [
        EvalResult(
            task_type=task,
            dataset_type=dataset or "unknown",
            dataset_name=name,
            metric_type=_ON_THE_HUB.get(metric.name, one_line(metric.name, 100)),
            metric_name=one_line(metric.title, 100) + folds + (f" (95 % interval {interval})" if interval else ""),
            metric_value=round(value, 6),
        )
        for metric, value, interval in own_scores(scores)
    ]


__all__ = ["LIBRARY", "RELATION", "base_tag", "hub_dataset", "make_front_matter"]
