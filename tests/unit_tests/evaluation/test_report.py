"""The report: one file that fetches nothing, in which a reader who was not there finds every number."""

from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from langchain_softprompt.evaluation import Evaluation, EvaluationOptions, evaluate, few_shot_arm, hard_prompt_arm, soft_prompt_arm
from langchain_softprompt.evaluation.report import report_page
from langchain_softprompt.evaluation.words import spell
from tests.unit_tests.evaluation.judging import PROMPT, ROWS, TRAIN, model, soft_prompt


@cache
def _judged() -> Evaluation:
    on = model()
    rows = [*ROWS, {"text": "<script>alert(1)</script> & co", "label": "sea"}]
    arms = [soft_prompt_arm(soft_prompt(on, 1), name="one"), hard_prompt_arm(PROMPT), few_shot_arm(PROMPT, TRAIN, 2, target="label")]
    return evaluate(
        on,
        arms,
        rows,
        target="label",
        train_rows=TRAIN,
        options=EvaluationOptions(resamples=100),
        source="made up",
        left_out={"initialisation": "it was not kept"},
    )


class _Reader(HTMLParser):
    """All text, and all that a browser would fetch or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [
            value or "" for name, value in attrs if name in {"src", "href", "action", "data"} and not (value or "").startswith("#")
        ]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(evaluation: Evaluation, **more: object) -> _Reader:
    return _Reader(report_page(evaluation, **more).to_html())  # type: ignore[arg-type]


def test_it_fetches_nothing_runs_nothing_and_shows_what_rows_say_as_text() -> None:
    reader = _read(_judged())
    assert reader.fetched == []
    assert "script" not in reader.tags
    assert any("<script>alert(1)</script>" in text for text in reader.text)


def test_every_score_verdict_note_and_reason_is_in_it() -> None:
    text = " ".join(_read(_judged(), command="langchain-softprompt evaluate one").text)
    for arm in _judged().arms:
        for metric in _judged().metrics:
            assert spell(arm.scores[metric.name].value, metric.scale) in text
    verdicts = [one.verdict for one in _judged().comparisons if one.metric == "accuracy"]
    verdicts += [gap.verdict for gap in _judged().gaps if gap.metric == "accuracy"] + [kept.verdict for kept in _judged().knowledge]
    for sentence in (
        *verdicts,
        *_judged().notes,
        "Not compared: initialisation, because it was not kept.",
        "langchain-softprompt evaluate one",
    ):
        assert re.sub(r"\s+", " ", sentence) in re.sub(r"\s+", " ", text)
    for fact in (_judged().data, "tiny", "float32", "made up"):
        assert fact in text


def test_its_pictures_are_well_formed_and_there_is_one_of_each() -> None:
    html = report_page(_judged()).to_html()
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(pictures) == 3  # shares, perplexity, confusion
    for picture in pictures:
        ElementTree.fromstring(picture)  # noqa: S314 - our own


def test_the_log_of_the_training_run_gives_curves_and_a_broken_one_gives_none(tmp_path: Path) -> None:
    best = tmp_path / "run" / "best"
    best.mkdir(parents=True)
    steps = [{"step": step, "loss": 1 / step, "validation_loss": 0.5 if step % 2 else None} for step in range(1, 9)]
    log = tmp_path / "run" / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, steps)))
    with_curves = _read(_judged(), folders={"one": best})
    assert any("loss while it was trained" in text for text in with_curves.text)
    log.write_text('{"step": 1, "loss": "high"}\n[1]\n')
    assert not any("loss while it was trained" in text for text in _read(_judged(), folders={"one": best}).text)
    log.write_text("no JSON")
    assert not any("loss while it was trained" in text for text in _read(_judged(), folders={"one": best}).text)


def test_many_labels_get_their_most_frequent_mistakes_instead_of_a_picture() -> None:
    on = model()
    rows = [{"text": f"animal {number}", "label": f"place {number % 25}"} for number in range(50)]
    judged = evaluate(on, [soft_prompt_arm(soft_prompt(on, 1), name="one")], rows, target="label", options=EvaluationOptions(resamples=100))
    html = report_page(judged).to_html()
    assert len(re.findall("<svg", html)) == 2
    assert "the most frequent mistakes" in html
    assert judged.confusions[0].mistakes(1)[0][0] in html


def test_where_all_rows_are_right_it_says_so_instead_of_listing_some_as_the_worst() -> None:
    on = model()
    rows = [{"text": row["text"], "label": "farm"} for row in ROWS]
    arms = [soft_prompt_arm(soft_prompt(on, seed), name=name) for seed, name in ((1, "one"), (2, "two"))]
    judged = evaluate(on, arms, rows, target="label", labels=["farm"], options=EvaluationOptions(resamples=100))
    assert judged.worst == ()
    text = " ".join(_read(judged).text)
    for name in ("one", "two"):
        assert f"{name}: all rows are right, by accuracy." in text
    assert "worst rows" not in text


def test_its_table_of_scores_says_which_answers_each_metric_was_measured_on() -> None:
    text = " ".join(_read(_judged()).text)
    for column in ("accuracy (one of the labels)", "exact_match (free answers)", "perplexity (wanted answer)"):
        assert column in text


def test_a_single_arm_without_anything_else_is_still_a_report() -> None:
    on = model()
    judged = evaluate(on, [hard_prompt_arm(PROMPT)], ROWS, target="label", metrics=["perplexity"], options=EvaluationOptions(resamples=100))
    text = " ".join(_read(judged).text)
    assert "Evaluation of hard prompt" in text
    assert "There was only one arm" in text
