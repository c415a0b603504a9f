"""The baselines of some soft prompts: what they must beat to be worth their while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langchain_softprompt.data import HardPrompt, instruction_ids
from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation.arms import Arm, few_shot_arm, hard_prompt_arm, hard_prompt_of
from langchain_softprompt.evaluation.initialisation import initialisation_arm
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import SoftPrompt

Rows = Sequence[Mapping[str, str]]


def baselines(
    model: FrozenModel,
    soft: Sequence[Arm],
    rows: Rows,
    *,
    target: str,
    prompt: HardPrompt | None = None,
    train_rows: Rows = (),
    few_shot: int = 5,
    seed: int = 0,
    init_from: SoftPrompt | None = None,
) -> tuple[list[Arm], dict[str, str]]:
    """The hard prompt as it is, the hard prompt with solved examples, and what each soft prompt started as.

    Args:
        model: The frozen model.
        soft: The soft prompts' arms.
        rows: Rows that are judged on; none of them becomes an example.
        target: The field that holds the wanted answer.
        prompt: The hard prompt; by default those that the soft prompts were made with.
        train_rows: Rows to draw examples from.
        few_shot: How many examples; 0 for none.
        seed: Decides which.
        init_from: What the first soft prompt started as, where it is not known.

    Returns:
        The arms, and the baselines that there can't be with the reason why.
    """
    arms: list[Arm] = []
    left_out: dict[str, str] = {}
    prompts = _prompts(soft, prompt)
    if not prompts:
        left_out["hard prompt"] = "the soft prompts don't say which hard prompt they were made with, and no template was given"
    for name, hard in prompts.items():
        suffix = f" of {name}" if len(prompts) > 1 else ""
        arms.append(hard_prompt_arm(hard, name=f"hard prompt{suffix}"))
        if few_shot and not train_rows:
            left_out[f"few-shot{suffix}"] = "no training rows were given to draw examples from"
        elif few_shot:
            try:
                shots = few_shot_arm(hard, train_rows, few_shot, target=target, seed=seed, unseen=rows)
                arms.append(Arm(shots.name + suffix, shots.kind, shots.inputs, shots.head, examples=few_shot))
            except EvaluationError as error:
                left_out[f"few-shot{suffix}"] = str(error)
    for place, arm in enumerate(soft):
        name = f"initialisation of {arm.name}" if len(soft) > 1 else "initialisation"
        own = prompt or (hard_prompt_of(arm.soft_prompt) if arm.soft_prompt is not None else None)
        start = initialisation_arm(model, arm, own, init_from=init_from if place == 0 else None, name=name)
        if isinstance(start, str):
            left_out[name] = start
        elif own is not None and not (init_from and place == 0) and _is_the_hard_prompt(model, start, own, rows, target):
            left_out[name] = "it started as the whole hard prompt, whose scores stand above"
        else:
            arms.append(start)
    return arms, left_out


def _prompts(soft: Sequence[Arm], prompt: HardPrompt | None) -> dict[str, HardPrompt]:
    """The hard prompts, each once, by the first soft prompt that was made with it."""
    if prompt is not None:
        return {"template": prompt}
    found: dict[str, HardPrompt] = {}
    for arm in soft:
        hard = hard_prompt_of(arm.soft_prompt) if arm.soft_prompt is not None else None
        if hard is not None and all(hard.messages != known.messages for known in found.values()):
            found[arm.name] = hard
    return found


def _is_the_hard_prompt(model: FrozenModel, start: Arm, prompt: HardPrompt, rows: Rows, target: str) -> bool:
    """Whether a start is made of the very tokens that the hard prompt is, for the first row at least."""
    soft_prompt = start.soft_prompt
    if soft_prompt is None or soft_prompt.manifest is None or soft_prompt.manifest.method != "kv-prefix":
        return False
    training = soft_prompt.manifest.training
    ids = instruction_ids(model, prompt)
    if training.get("init", training.get("start", "hard-prompt")) != "hard-prompt" or soft_prompt.num_virtual_tokens != len(ids):
        return False
    by_text = hard_prompt_arm(prompt).render(model, rows[0], target).text
    return (*ids, *start.render(model, rows[0], target).text) == by_text


__all__ = ["baselines"]
