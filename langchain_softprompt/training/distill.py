"""distill(): a long hard prompt and texts without answers in, a short soft prompt that says the same out."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_safetensors
from torch import Tensor

from langchain_softprompt.data import Example, HardPrompt, digest_rows
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import FrozenModelError, RunFolderError, TrainingDataError
from langchain_softprompt.evaluation import answer_rows
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training.learners import Learner
from langchain_softprompt.training.loop import Look
from langchain_softprompt.training.material import RowMaterial, ToldRows
from langchain_softprompt.training.objectives import Imitation
from langchain_softprompt.training.records import About, Records
from langchain_softprompt.training.run_folder import RunFolder
from langchain_softprompt.training.runs import Nobody, Run, Watcher
from langchain_softprompt.training.starts import new_learner
from langchain_softprompt.training.state import write_whole
from langchain_softprompt.training.teacher import Lesson, Teacher
from langchain_softprompt.training.train import run_folder, run_identity

_TENTH, _SHORTEST = 10, 4
_HELD_OUT = 0.1
_LESSONS = "teacher.safetensors"
_TIMED_ROWS, _ROUNDS = 4, 5


@dataclass(frozen=True, slots=True)
class Distillation:
    """What a distillation came to. "Held out" are texts that the soft prompt never learned from.

    Attributes:
        soft_prompt: The soft prompt.
        rows: Texts it learned from.
        held_out_rows: Texts held out.
        initial_kl: Mean KL(long prompt || soft prompt) per answer token on them before the first step, in nats.
        kl: The same now.
        initial_agreement: Share of them that were answered exactly as by the long prompt before the first step.
        agreement: The same now.
        prompt_tokens: Tokens of the long prompt before the text.
        virtual_tokens: Length of the soft prompt.
        prompt_seconds: Median time to the first token with the long prompt, nothing remembered.
        soft_seconds: The same with the compiled soft prompt.
        tested: What `compare_answers` says on rows with answers; empty where none were given.
    """

    soft_prompt: SoftPrompt
    rows: int
    held_out_rows: int
    initial_kl: float
    kl: float
    initial_agreement: float
    agreement: float
    prompt_tokens: int
    virtual_tokens: int
    prompt_seconds: float
    soft_seconds: float
    tested: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All numbers, by name."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in {"soft_prompt", "tested"}} | dict(self.tested)


def distill(
    model: FrozenModel,
    hard_prompt: HardPrompt,
    rows: Sequence[Mapping[str, str]],
    *,
    settings: TrainingSettings | None = None,
    max_answer_tokens: int = 64,
    start_from: SoftPrompt | None = None,
    description: str = "",
    source: str = "",
    licence: str = "",
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
    probes: bool = True,
    watcher: Watcher | None = None,
    on_lesson: Callable[[], None] | None = None,
    test: Sequence[Mapping[str, str]] = (),
    target: str = "",
) -> Distillation:
    """Learn to say with a short soft prompt what the model says with a long hard prompt.

    The model answers every text with the long prompt; the soft prompt learns its next-token distributions along those
    answers by KL divergence. No labels are needed. (Wingate et al. 2022, arXiv:2210.03162; context distillation, Askell
    et al. 2021, arXiv:2112.00861; Cartridges, Eyuboglu et al. 2025, arXiv:2506.06266.)

    Args:
        model: The frozen model.
        hard_prompt: The long prompt: instructions, solved examples as human and ai messages, then the messages with
            ``{fields}``, which are sent with the soft prompt too.
        rows: Texts, one field each that the template asks for; a tenth is held out. See `make_texts` where there are none.
        settings: How to train; ``virtual_tokens=None`` takes a tenth of the long prompt's length.
        max_answer_tokens: Most tokens of an answer.
        start_from: As for `train`, as are the next eight.
        description: What it does.
        source: Where the texts came from.
        licence: Their licence.
        output: Folder of the run.
        resume: Go on with the run in `output`.
        overwrite: Replace what is in `output`.
        notes: Kept with the run's settings.
        probes: As for `train`.
        watcher: Told how the run goes.
        on_lesson: Called for each text the long prompt has answered.
        test: Rows with answers to score both prompts on, when all is learned.
        target: The field of these rows that holds the answer.

    Raises:
        TrainingDataError: There are too few texts, or one of them lacks a field.
        FrozenModelError: The model can't be trained on.
        RunFolderError: The folder can't be used.
    """
    settings = settings or TrainingSettings()
    if len(rows) < 2:
        raise TrainingDataError(source or "texts", None, f"expected at least 2 texts, one of them to hold out, found {len(rows)}.")
    if not model.eos_token_ids:
        msg = f"{model.name} names no end-of-sequence token, so no answer ends. Set it in its generation config."
        raise FrozenModelError(msg)
    _check_fields(hard_prompt.fields, rows, source or "texts")
    _check_fields([*hard_prompt.fields, target], test, "test rows")
    teacher = Teacher(model, hard_prompt)
    if settings.virtual_tokens is None and start_from is None:
        settings = settings.override(virtual_tokens=max(_SHORTEST, len(teacher.head_ids) // _TENTH))
    start = partial(new_learner, model, teacher.head_ids, settings, start_from=start_from)
    start()  # Refuses what can't be trained before anything is answered.
    apart = max(1, min(settings.validation_rows, round(len(rows) * _HELD_OUT)))
    material = RowMaterial.of(hard_prompt, rows, [], "")
    identity = run_identity(model, material, settings=settings, start_from=start_from, max_answer_tokens=max_answer_tokens)
    folder = run_folder(output, identity, notes, resume=resume, overwrite=overwrite)
    try:
        lessons, taught = _lessons(teacher, rows, max_answer_tokens, folder, on_lesson)
        if len(lessons) <= apart:
            raise TrainingDataError(source or "texts", None, "the long prompt answers almost none of them: its answers are empty.")
        about = About(description, source, licence)
        held = Imitation(model, [lesson.example for lesson in lessons[:apart]], taught[:apart])
        records = Records(
            model,
            ToldRows(hard_prompt.messages, teacher.tail, "", [rows[lesson.row] for lesson in lessons]),
            about,
            method=f"distilled {settings.method}",
            start_from=start_from,
            probes=probes,
            more={"teacher_tokens": len(teacher.head_ids)},
            scores=_scores(model, start, held),
        )
        run = Run(
            model,
            start,
            Imitation(model, [lesson.example for lesson in lessons[apart:]], taught[apart:]),
            [lesson.example for lesson in lessons[:apart]],
            settings.override(validation_rows=apart),
            records.finish,
            folder,
            watcher or Nobody(),
        )
        made = run.execute().best
        scores = made.manifest.scores if made.manifest else {}
        prompt_seconds, soft_seconds = _first_token_seconds(model, made, lessons[:apart])
        found = Distillation(
            soft_prompt=made,
            rows=len(lessons) - apart,
            held_out_rows=apart,
            initial_kl=scores["initial_kl"],
            kl=scores["kl"],
            initial_agreement=scores["initial_agreement"],
            agreement=scores["agreement"],
            prompt_tokens=len(teacher.head_ids),
            virtual_tokens=made.num_virtual_tokens,
            prompt_seconds=prompt_seconds,
            soft_seconds=soft_seconds,
            tested=compare_answers(model, hard_prompt, made, test, target, max_answer_tokens) if test else {},
        )
        run.write_report(made, found.to_json())
    finally:
        if folder is not None:
            folder.close()
    return found


def _check_fields(fields: Sequence[str], rows: Sequence[Mapping[str, str]], source: str) -> None:
    for number, row in enumerate(rows, start=1):
        for name in fields:
            if not isinstance(row.get(name), str):
                raise TrainingDataError(source, None, f"row {number}: field {name!r}: expected text, found {row.get(name)!r}.")


def _scores(model: FrozenModel, start: Callable[[], Learner], held: Imitation) -> Callable[[SoftPrompt, Look, Look], dict[str, float]]:
    """What a manifest says of a soft prompt: how near it is to the long prompt, on texts held out."""

    @cache
    def initial_kl() -> float:
        return _mean_kl(model, start().soft_prompt(), held)

    def scores(soft_prompt: SoftPrompt, look: Look, first: Look) -> dict[str, float]:
        return {
            "kl": _mean_kl(model, soft_prompt, held),
            "agreement": look.exact_match,
            "validation_loss": look.loss,
            "initial_kl": initial_kl(),
            "initial_agreement": first.exact_match,
            "initial_validation_loss": first.loss,
        }

    return scores


def _lessons(
    teacher: Teacher,
    rows: Sequence[Mapping[str, str]],
    max_tokens: int,
    folder: RunFolder | None,
    on_lesson: Callable[[], None] | None,
) -> tuple[list[Lesson], list[tuple[Tensor, Tensor]]]:
    """Answers and distributions; taken from the run's folder where they are there whole."""
    file = folder.path / _LESSONS if folder is not None else None
    if file is not None and file.exists():
        return _read_lessons(file)
    lessons = teacher.teach(rows, max_tokens=max_tokens, on_answer=on_lesson)
    taught = teacher.distributions(lessons)
    if file is not None:
        facts = json.dumps({"digest": digest_rows(rows), "lessons": [asdict(lesson) for lesson in lessons]})
        tensors = {
            f"{kind}.{number}": pair[place] for number, pair in enumerate(taught) for place, kind in enumerate(("tokens", "log_probs"))
        }
        write_whole(file, save_safetensors(tensors, metadata={"facts": facts}))
    return lessons, taught


def _read_lessons(file: Path) -> tuple[list[Lesson], list[tuple[Tensor, Tensor]]]:
    try:
        with safe_open(str(file), framework="pt") as opened:
            facts = json.loads((opened.metadata() or {})["facts"])
            lessons = [
                Lesson(lesson["row"], *(tuple(lesson[name]) for name in ("text", "whole", "completion"))) for lesson in facts["lessons"]
            ]
            count = range(len(lessons))
            return lessons, [(opened.get_tensor(f"tokens.{number}"), opened.get_tensor(f"log_probs.{number}")) for number in count]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        msg = f"{file} can't be read: {error}. Start the run again in another folder."
        raise RunFolderError(msg) from error


def compare_answers(
    model: FrozenModel, hard_prompt: HardPrompt, soft_prompt: SoftPrompt, rows: Sequence[Mapping[str, str]], target: str, max_tokens: int
) -> dict[str, float]:
    """Score the long prompt and the soft prompt on rows with answers, both greedy through the engine.

    Returns:
        ``test_rows``, ``prompt_exact_match``, ``soft_exact_match`` (outer white space aside), and ``test_agreement``: the
        share of rows that both answer with the same words.
    """
    teacher = Teacher(model, hard_prompt)
    texts = [teacher.texts(row) for row in rows]
    with Engine(model) as engine:
        long = answer_rows(engine, None, [Example(whole, ()) for _, whole in texts], max_tokens=max_tokens)
        short = answer_rows(engine, soft_prompt, [Example(text, ()) for text, _ in texts], max_tokens=max_tokens)
    wanted = [row[target].strip() for row in rows]
    said = [[answer.text.strip() for answer in answers] for answers in (long, short)]
    count = max(1, len(rows))
    return {
        "test_rows": float(len(rows)),
        "prompt_exact_match": sum(map(str.__eq__, said[0], wanted)) / count,
        "soft_exact_match": sum(map(str.__eq__, said[1], wanted)) / count,
        "test_agreement": sum(map(str.__eq__, said[0], said[1])) / count,
    }


@torch.no_grad()
def _mean_kl(model: FrozenModel, soft_prompt: SoftPrompt, held: Imitation) -> float:
    prefix = compile_prefix(model, soft_prompt)
    parts = [held.divergences(prefix, [row]) for row in range(len(held.examples))]
    return float(torch.cat(parts).mean())


def _first_token_seconds(model: FrozenModel, soft_prompt: SoftPrompt, lessons: Sequence[Lesson]) -> tuple[float, float]:
    """Medians over interleaved rounds, each text read alone."""
    prefix = compile_prefix(model, soft_prompt)
    long: list[float] = []
    short: list[float] = []
    for _ in range(_ROUNDS):
        for lesson in lessons[:_TIMED_ROWS]:
            began = time.perf_counter()
            model.forward(input_ids=torch.tensor([lesson.whole], device=model.device), cache=model.new_cache(), past_length=0)
            middle = time.perf_counter()
            if prefix.embeddings is None:
                ids = torch.tensor([lesson.text], device=model.device)
                model.forward(input_ids=ids, cache=prefix.to_cache(model), past_length=prefix.length)
            else:
                embeds = torch.cat([prefix.embeddings, model.embed(torch.tensor(lesson.text, device=model.device))])
                model.forward(inputs_embeds=embeds[None], cache=model.new_cache(), past_length=0)
            long.append(middle - began)
            short.append(time.perf_counter() - middle)
    return statistics.median(long), statistics.median(short)


__all__ = ["Distillation", "compare_answers", "distill"]
