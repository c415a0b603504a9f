"""What training says of a soft prompt is what its evaluation says: the same rows, the same numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from langchain_softprompt.evaluation import EvaluationOptions, evaluate, soft_prompt_arm
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training import train
from tests.tiny import frozen
from tests.unit_tests.evaluation.judging import PROMPT

ROWS = [
    {"text": text, "label": "ab"[number % 3 > 0]}
    for number, text in enumerate(("cow", "pig", "hen", "goat", "cod", "eel", "ray", "whale", "duck", "seal", "crab", "tern"))
]


@pytest.mark.parametrize(("family", "method"), [("Llama", "kv-prefix"), ("GPT2", "prompt-tuning")])
def test_the_validation_score_in_training_is_the_one_evaluate_gives(family: str, method: str, tmp_path: Path) -> None:
    """Exact match of free answers from the engine against the training's own, and perplexity against its loss; fp32."""
    on = frozen(family)
    settings = TrainingSettings(method=method, max_steps=60, batch_size=4, learning_rate=0.05, evaluate_every=20, patience=None)
    made = train(on, PROMPT, ROWS[:8], ROWS, target="label", settings=settings, output=tmp_path / "run")
    assert made.manifest is not None
    told = made.manifest.scores
    served = SoftPrompt.load(tmp_path / "run" / "best")
    judged = evaluate(on, [soft_prompt_arm(served, name="best")], ROWS, target="label", options=EvaluationOptions(resamples=100))
    scores = judged.arms[0].scores
    assert 0 < told["validation_exact_match"] < 1, "a score that could be right by accident would prove nothing"
    assert scores["exact_match"].value == pytest.approx(told["validation_exact_match"])
    assert math.log(scores["perplexity"].value) == pytest.approx(told["validation_loss"], rel=1e-4)
