"""Probes say what transformers says, and tell a soft prompt that is the same from one that drifted or broke."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor
from torch.nn.functional import kl_div

from langchain_softprompt.errors import (
    ChatTemplateError,
    ContextLengthError,
    InvalidSettingsError,
    InvalidSoftPromptError,
    NonFiniteSoftPromptError,
)
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import (
    KVPrefix,
    ProbeOutcome,
    ProbeReport,
    choose_probes,
    compile_prefix,
    record_probes,
    run_probes,
    with_probes,
)
from langchain_softprompt.prefix.probe_report import ALLOWED, divergence
from langchain_softprompt.soft_prompt import Manifest, ProbeRecord, ProbesRecord, SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_model, tiny_soft_prompt
from tests.unit_tests.soft_prompt.peft_folders import HYBRID, MODELS, frozen, peft_logits, save_with_peft, text

TEXTS = [text(9, seed=1), text(14, seed=2), text(5, seed=3)]
QUESTIONS = ("What is a soft prompt?", "Hello there", "7 times 8")
CHATS = [[{"role": "user", "content": question}] for question in QUESTIONS]


def _record(model: FrozenModel, soft_prompt: SoftPrompt, texts: list[list[int]] = TEXTS) -> ProbesRecord:
    return record_probes(model, compile_prefix(model, soft_prompt), [([], ids) for ids in texts])


def _run(model: FrozenModel, soft_prompt: SoftPrompt, record: ProbesRecord) -> ProbeReport:
    return run_probes(model, compile_prefix(model, soft_prompt), record)


def _changed(soft_prompt: SoftPrompt, change: Callable[[Tensor], Tensor]) -> SoftPrompt:
    return replace(soft_prompt, tensors={"prompt_embeddings": change(soft_prompt.tensors["prompt_embeddings"].clone())})


def _noisy(tensor: Tensor, scale: float) -> Tensor:
    return tensor + scale * tensor.std() * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))


def _noisy_model(model: FrozenModel, scale: float) -> FrozenModel:
    other = copy.deepcopy(model.model)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.dim() == 2:
                weight.copy_(_noisy(weight, scale))
    return FrozenModel.wrap(other, model.tokenizer, name="noisy")


@pytest.mark.parametrize(
    ("family", "kind"),
    [(family, kind) for family in MODELS for kind in ("PROMPT_TUNING", "PREFIX_TUNING") if (family, kind) != (HYBRID, "PREFIX_TUNING")],
)
def test_what_is_recorded_is_what_peft_says_on_transformers_own_forward(family: str, kind: str, tmp_path: Path) -> None:
    """The eight likeliest tokens and their log-probabilities, within 1e-5, on every way that soft prompts are served."""
    model = frozen(family)
    save_with_peft(tmp_path, kind, model)
    record = _record(model, SoftPrompt.load(tmp_path))
    for ids, probe in zip(TEXTS, record.probes, strict=True):
        expected = peft_logits(model, tmp_path, ids)[-1].log_softmax(dim=-1).topk(8)
        assert probe.token_ids == ids
        assert probe.next_ids == expected.indices.tolist()
        torch.testing.assert_close(torch.tensor(probe.log_probs), expected.values, atol=1e-5, rtol=0)
    report = _run(model, SoftPrompt.load(tmp_path), record)
    assert (report.verdict, report.changed_tokens, report.skipped) == ("same", 0, 0)
    assert report.largest < 1e-5


def test_the_effect_recorded_is_how_far_the_bare_model_is_from_it() -> None:
    model = tiny_model()
    record = _record(model, tiny_soft_prompt(1))
    bare = run_probes(model, KVPrefix(0), record)
    assert bare.divergence == pytest.approx(bare.effect, abs=1e-5)
    assert bare.verdict == "broken"


def test_deviation_and_divergence_are_what_they_are_by_hand() -> None:
    """Three tokens recorded of a vocabulary of 259; PyTorch's own divergence over them and the rest as a fourth."""
    model = tiny_model()
    ids = TEXTS[0]
    logits = model.forward(input_ids=torch.tensor([ids]), cache=model.new_cache(), past_length=0)
    now = logits.double().log_softmax(dim=-1)
    recorded = [math.log(0.5), math.log(0.25), math.log(0.125)]
    record = ProbesRecord(probes=[ProbeRecord(token_ids=ids, next_ids=[40, 41, 42], log_probs=recorded)], dtype="float32")
    report = run_probes(model, KVPrefix(0), record)
    differences = torch.tensor(recorded, dtype=torch.float64) - now[40:43]
    assert report.deviation == pytest.approx(float(differences.square().mean().sqrt()), rel=1e-6)
    assert report.largest == pytest.approx(float(differences.abs().max()), rel=1e-6)
    p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    q = torch.cat([now[40:43].exp(), 1 - now[40:43].exp().sum()[None]])
    assert report.divergence == pytest.approx(float(kl_div(q.log(), p, reduction="sum")), rel=1e-6)
    assert (report.probes[0].expected, report.probes[0].found) == (40, int(logits.argmax()))
    assert report.probes[0].same_token is (int(logits.argmax()) == 40)
    assert math.isnan(report.effect)


@given(some.integers(0, 10_000), some.floats(0.1, 20), some.floats(0.0, 20))
def test_the_divergence_is_never_negative_and_never_more_than_over_all_tokens(seed: int, scale: float, noise: float) -> None:
    numbers = torch.Generator().manual_seed(seed)
    one = scale * torch.randn(50, generator=numbers, dtype=torch.float64)
    other = one + noise * torch.randn(50, generator=numbers, dtype=torch.float64)
    then, now = one.log_softmax(-1), other.log_softmax(-1)
    top = then.topk(8).indices
    found = divergence(then[top], now[top])
    assert 0 <= found <= float(kl_div(now, then, reduction="sum", log_target=True)) + 1e-6


def test_a_recorded_probability_of_zero_takes_no_part_in_the_divergence() -> None:
    then, now = torch.tensor([-0.1, -1e308], dtype=torch.float64), torch.tensor([-0.1, -5.0], dtype=torch.float64)
    assert math.isfinite(divergence(then, now))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("dtype", "quantization"), [("float32", None), ("bfloat16", None), ("float16", None), ("float32", "int8"), ("bfloat16", "int8")]
)
def test_in_every_precision_the_answer_is_the_same_within_what_is_allowed_for_it(
    folder: Path, dtype: str, quantization: str | None
) -> None:
    plain = tiny_model()
    model = FrozenModel.load(folder, dtype=dtype, quantization=quantization, packed=True)
    for seed in range(4):
        report = _run(model, tiny_soft_prompt(seed), _record(plain, tiny_soft_prompt(seed)))
        assert report.verdict == "same"
        assert report.allowed == ALLOWED[quantization or dtype]
        assert report.precision == f"float32 then, {quantization or dtype} now"
        assert report.deviation > (1e-5 if (dtype, quantization) != ("float32", None) else 0)


def test_what_was_recorded_in_a_coarse_precision_may_differ_as_much_in_a_fine_one() -> None:
    model = tiny_model()
    record = _record(model, tiny_soft_prompt()).model_copy(update={"quantization": "int8"})
    assert _run(model, tiny_soft_prompt(), record).allowed == ALLOWED["int8"]
    unknown = record.model_copy(update={"quantization": "int3"})
    report = _run(model, tiny_soft_prompt(), unknown)
    assert report.allowed == max(ALLOWED.values())
    assert report.precision == "an unknown precision then, float32 now"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.01, 0.1])
def test_weights_that_moved_a_little_are_drift_told_in_numbers(seed: int, scale: float) -> None:
    model = tiny_model()
    record = _record(model, tiny_soft_prompt(seed))
    report = _run(_noisy_model(model, scale), tiny_soft_prompt(seed), record)
    assert report.verdict == "drifted"
    assert report.deviation > report.allowed == ALLOWED["float32"]
    assert f"off by {report.deviation:.2g} nats (allowed 0.005: float32 then, float32 now)" in str(report)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.01, 0.1])
def test_a_soft_prompt_whose_numbers_moved_a_little_is_drift(seed: int, scale: float) -> None:
    model = tiny_model()
    record = _record(model, tiny_soft_prompt(seed))
    changed = _changed(tiny_soft_prompt(seed), lambda numbers: _noisy(numbers, scale))
    assert _run(model, changed, record).verdict == "drifted"


def test_other_positions_are_drift_though_the_fingerprint_is_the_same() -> None:
    """The base of the rotary positions is configuration, not weights."""
    model = tiny_model()
    record = _record(model, tiny_soft_prompt())
    other = copy.deepcopy(model.model)
    other.model.rotary_emb.inv_freq.mul_(0.9)
    turned = FrozenModel.wrap(other, model.tokenizer)
    assert turned.fingerprint == model.fingerprint
    assert _run(turned, tiny_soft_prompt(), record).verdict == "drifted"


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_another_soft_prompt_or_none_is_broken(seed: int) -> None:
    model = tiny_model()
    record = _record(model, tiny_soft_prompt(seed))
    for prefix in (compile_prefix(model, tiny_soft_prompt(seed + 10)), KVPrefix(0)):
        assert run_probes(model, prefix, record).verdict == "broken"


def test_a_soft_prompt_cut_short_is_no_longer_the_same() -> None:
    model = tiny_model()
    record = _record(model, tiny_soft_prompt())
    whole = compile_prefix(model, tiny_soft_prompt())
    for start, end in ((0, 3), (1, 4)):
        assert run_probes(model, whole.cut(start, end), record).verdict in {"drifted", "broken"}


def test_nan_behind_a_soft_prompt_is_broken_and_no_json_number() -> None:
    model = tiny_model()
    record = _record(model, tiny_soft_prompt())
    prefix = compile_prefix(model, tiny_soft_prompt())
    poisoned = KVPrefix(prefix.length, tuple((keys, values * math.nan) for keys, values in prefix.layers))
    report = run_probes(model, poisoned, record)
    assert report.verdict == "broken"
    assert str(report) == "NaN or Inf once text follows it"
    facts = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (facts["verdict"], facts["divergence"], facts["probes"][0]["found"]) == ("broken", None, None)


@pytest.mark.parametrize(
    ("deviation", "spread", "effect", "verdict"),
    [
        (0.004, 0.0, 5.0, "same"),
        (0.006, 0.0, 5.0, "drifted"),
        (2.0, 0.9, 5.0, "drifted"),
        (2.0, 1.1, 5.0, "broken"),
        (2.0, 0.3, 0.5, "broken"),
        (2.0, 0.2, 0.5, "drifted"),
        (2.0, 0.3, math.nan, "drifted"),
        (0.004, 0.0, 0.0, "same"),
        (math.inf, math.inf, 5.0, "broken"),
        (math.nan, math.nan, 5.0, "broken"),
    ],
)
def test_the_verdict_is_broken_from_one_nat_or_half_of_what_the_soft_prompt_does(
    deviation: float, spread: float, effect: float, verdict: str
) -> None:
    assert ProbeReport((ProbeOutcome(1, deviation, deviation, spread, effect, 1, 1),), 0, 0.005, "float32").verdict == verdict


def test_probes_that_were_read_in_one_pass_say_what_they_say_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    together = _record(model, tiny_soft_prompt())
    monkeypatch.setattr("langchain_softprompt.prefix.probes._COLUMNS_A_PASS", 0)
    alone = _record(model, tiny_soft_prompt())
    for one, other in zip(together.probes, alone.probes, strict=True):
        assert one.next_ids == other.next_ids
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)


def test_only_the_first_probes_that_fit_are_read_when_time_is_short() -> None:
    model = tiny_model()
    record, prefix = _record(model, tiny_soft_prompt()), compile_prefix(model, tiny_soft_prompt())
    report = run_probes(model, prefix, record, most_tokens=25)
    assert ([probe.number for probe in report.probes], report.skipped) == ([1, 2], 1)
    nothing = run_probes(model, prefix, record, most_tokens=3)
    assert (nothing.verdict, nothing.skipped, str(nothing)) == ("unknown", 3, "no probe was read (3 too long)")
    assert math.isnan(nothing.deviation)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"token_ids": [3, 259]}, r"probes\.0\.token_ids: expected token ids from 0 to 258, which tiny has, found 259"),
        ({"token_ids": [1 << 52]}, r"probes\.0\.token_ids"),
        ({"next_ids": [1 << 52]}, r"probes\.0\.next_ids"),
        ({"token_ids": [3] * 61}, r"probes\.0\.token_ids: expected at most 60, the room tiny leaves, found 61"),
    ],
)
def test_a_record_that_the_model_cant_read_is_refused_by_name_before_any_pass(change: dict[str, Any], field: str) -> None:
    model = tiny_model(max_positions=64)
    probe = {"token_ids": [3, 4], "next_ids": [5], "log_probs": [-0.5], **change}
    record = ProbesRecord.model_validate({"probes": [probe]})
    with pytest.raises(InvalidSoftPromptError, match=field):
        run_probes(model, compile_prefix(model, tiny_soft_prompt()), record)


def _probe(**change: object) -> dict[str, object]:
    return {"token_ids": [1], "next_ids": [2, 3], "log_probs": [-0.5, -1.5], **change}


@pytest.mark.parametrize(
    ("probes", "what"),
    [
        ([_probe()] * 17, "16 items"),
        ([_probe(token_ids=[1] * 4097)], "4096"),
        ([_probe(token_ids=[1] * 2049)] * 2, "at most 4096 token_ids in all probes together"),
        ([_probe(token_ids=[])], "1 item"),
        ([_probe(token_ids=[-1])], "greater than or equal to 0"),
        ([_probe(token_ids=[1.5])], "integer"),
        ([_probe(log_probs=[-0.5, math.nan])], "finite"),
        ([_probe(log_probs=[-0.5, -math.inf])], "finite"),
        ([_probe(log_probs=[0.5, -1.5])], "less than or equal to 0"),
        ([_probe(log_probs=[-0.5, -1e300])], "greater than or equal to -1000000"),
        ([_probe(log_probs=[-1.5, -0.5])], "from the likeliest token down"),
        ([_probe(log_probs=[-0.1, -0.1])], "add up to at most 1"),
        ([_probe(log_probs=[-0.5])], r"as many log_probs as different next_ids \(2\)"),
        ([_probe(next_ids=[2, 2])], r"as many log_probs as different next_ids \(1\)"),
        ([_probe(next_ids=list(range(65)), log_probs=[-9.0] * 65)], "64"),
        ([_probe(effect=-1.0)], "greater than or equal to 0"),
        ([_probe(effect=math.nan)], "finite"),
        ([_probe(messages=[{"role": "user", "content": "x" * 20_001}])], "20000"),
        ([_probe(messages=[{str(number): "" for number in range(1001)}])], "at most 1000 entries"),
        ([_probe(messages=[{"role": "user", "content": ["x"]}])], "string"),
    ],
)
def test_hostile_records_are_refused_when_the_manifest_is_read(probes: list[dict[str, object]], what: str) -> None:
    base = {"id": "tiny", "fingerprint": "0" * 64}
    with pytest.raises(InvalidSoftPromptError, match=what) as caught:
        Manifest.from_json({"base_model": base, "method": "test", "probes": {"probes": probes}})
    assert caught.value.file == "soft_prompt.json"
    assert caught.value.field.startswith("probes")


def test_probes_survive_saving_and_leave_the_soft_prompts_numbers_alone(tmp_path: Path) -> None:
    model = tiny_model()
    made = with_probes(tiny_soft_prompt(2), model, CHATS)
    loaded = SoftPrompt.load(made.save(tmp_path))
    assert loaded.content_hash == tiny_soft_prompt(2).content_hash
    assert loaded.manifest == made.manifest.model_copy(update={"tensors_sha256": loaded.manifest.tensors_sha256})
    assert [probe.messages for probe in loaded.manifest.probes.probes] == CHATS
    record = loaded.manifest.probes
    assert (record.dtype, record.quantization, record.device, record.torch) == ("float32", "", "cpu", torch.__version__)
    assert _run(model, loaded, record).verdict == "same"


def test_a_soft_prompt_without_a_manifest_gets_one_that_names_the_model_here() -> None:
    model = tiny_model(name="acme/tiny")
    manifest = with_probes(tiny_soft_prompt(), model, CHATS).manifest
    assert (manifest.base_model.id, manifest.base_model.fingerprint, manifest.method) == ("acme/tiny", model.fingerprint, "imported")


def test_chats_are_rendered_as_the_soft_prompt_says() -> None:
    """With a template that has a system message of its own, recorded with and without it."""
    from langchain_softprompt.frozen_model import render_chat
    from tests.tiny import WITH_DEFAULT_SYSTEM, tokenizer_with

    model = tiny_model(tokenizer=tokenizer_with(WITH_DEFAULT_SYSTEM))
    plain = with_probes(tiny_soft_prompt(), model, CHATS)
    dropping = replace(plain, manifest=plain.manifest.model_copy(update={"drop_default_system": True}))
    for soft_prompt, drop in ((plain, False), (with_probes(dropping, model, CHATS), True)):
        expected = [render_chat(model.tokenizer, chat, drop_default_system=drop) for chat in CHATS]
        assert [probe.token_ids for probe in soft_prompt.manifest.probes.probes] == expected


def test_what_cant_be_recorded_is_refused_with_the_reason() -> None:
    model = tiny_model(max_positions=64)
    prefix = compile_prefix(model, tiny_soft_prompt())
    for texts in ([], [([], [])], [([], [1])] * 17, [([], [1] * 4097)]):
        with pytest.raises(InvalidSettingsError, match="expected 1 to 16 texts of at most 4096 tokens"):
            record_probes(model, prefix, texts)
    with pytest.raises(ContextLengthError, match="A probe of 61 tokens after 4 virtual tokens does not fit the 64 positions of tiny"):
        record_probes(model, prefix, [([], [1] * 61)])
    poisoned = KVPrefix(prefix.length, tuple((keys, values * math.nan) for keys, values in prefix.layers))
    with pytest.raises(NonFiniteSoftPromptError):
        record_probes(model, poisoned, [([], [1, 2])])
    with pytest.raises(InvalidSettingsError, match=r"can't be stored: soft_prompt.json: messages.0.content: .*20000"):
        record_probes(model, prefix, [([{"role": "user", "content": "x" * 20_001}], [1, 2])])
    bare = FrozenModel.wrap(model.model, name="bare")
    with pytest.raises(ChatTemplateError, match="bare was wrapped without a tokenizer"):
        with_probes(tiny_soft_prompt(), bare, CHATS)


_texts = some.lists(some.lists(some.integers(0, 9), max_size=70), max_size=40)


@given(_texts, some.integers(1, 5), some.randoms())
def test_the_choice_of_texts_does_not_depend_on_their_order(texts: list[list[int]], count: int, random: Any) -> None:
    shuffled = random.sample(texts, len(texts))
    chosen, again = choose_probes(texts, count=count), choose_probes(shuffled, count=count)
    assert sorted(texts[place] for place in chosen) == sorted(shuffled[place] for place in again)


@given(_texts, some.integers(1, 5))
def test_chosen_texts_are_different_not_empty_as_many_as_asked_for_and_quickly_read(texts: list[list[int]], count: int) -> None:
    chosen = [tuple(texts[place]) for place in choose_probes(texts, count=count)]
    different = {tuple(one) for one in texts} - {()}
    assert len(set(chosen)) == len(chosen)
    assert () not in chosen
    assert sum(map(len, chosen)) <= 256 or len(chosen) == 1
    short = [one for one in different if len(one) <= 48]
    if len(short) >= count:
        assert len(chosen) == count
        assert all(len(one) <= 48 for one in chosen)


def test_choices_are_spread_over_the_answers() -> None:
    """Thirty rows with three answers, whichever stands first."""
    texts = [[number, *range(number % 7)] for number in range(30)]
    answers = [[number % 3] for number in range(30)]
    assert {answers[place][0] for place in choose_probes(texts, answers, count=3)} == {0, 1, 2}


def test_where_all_texts_are_long_the_shortest_are_taken_as_far_as_they_fit() -> None:
    texts = [[number] * (100 + number) for number in range(10)]
    assert choose_probes(texts) == [0, 1]
    assert choose_probes([[1] * 300, [2] * 400]) == [0]
    assert choose_probes([[1] * 1025, []]) == []


def test_with_nothing_to_record_a_soft_prompt_has_no_probes() -> None:
    model = tiny_model()
    recorded = with_probes(tiny_soft_prompt(), model, CHATS)
    assert with_probes(recorded, model, []).manifest.probes is None
