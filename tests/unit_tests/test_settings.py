"""Settings: every bound, from both sides."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.settings import QUANTIZATIONS, EngineLimits, GenerationSettings, TrainingSettings, check_quantization

_NO_INTEGER = [1.0, "1", None, True, math.nan]
_NO_NUMBER = ["1", None, True, math.nan, math.inf, -math.inf, 10**400]
_AT_LEAST_1 = ([1, 2, 10**9], [0, -1, *_NO_INTEGER])
_AT_LEAST_1_OR_NONE = ([None, 1, 2, 10**9], [0, -1, *(value for value in _NO_INTEGER if value is not None)])
_CLASSES = (GenerationSettings, EngineLimits, TrainingSettings)

# For each setting: values that are allowed, values that are not.
_BOUNDS: dict[tuple[type, str], tuple[list[Any], list[Any]]] = {
    (GenerationSettings, "max_new_tokens"): _AT_LEAST_1,
    (GenerationSettings, "temperature"): ([0, 0.0, 1e-9, 2.5], [-1e-9, *_NO_NUMBER]),
    (GenerationSettings, "top_k"): ([None, 0, 1, 10**6], [-1, 1.0, "1", True]),
    (GenerationSettings, "top_p"): ([1e-9, 0.5, 1, 1.0], [0, -0.1, 1.0000001, *_NO_NUMBER]),
    (GenerationSettings, "min_p"): ([0, 1e-9, 0.5, 1, 1.0], [-1e-9, 1.0000001, *_NO_NUMBER]),
    (GenerationSettings, "repetition_penalty"): ([1e-9, 1, 2.0], [0, -1, *_NO_NUMBER]),
    (GenerationSettings, "seed"): ([None, 0, 2**63 - 1], [-1, 2**63, 1.0, "1", True]),
    (GenerationSettings, "stop_token_ids"): ([(), (0, 7)], [(-1,), (1.0,), (True,), ("1",), "12", [1], None, 3]),
    (GenerationSettings, "top_logprobs"): ([None, 0, 20], [-1, 1.0, "1", True]),
    (EngineLimits, "max_rows"): _AT_LEAST_1,
    (EngineLimits, "max_queue"): _AT_LEAST_1,
    (EngineLimits, "max_tokens"): ([None, 1, 10**9], [0, -1, 1.0, "1", True, math.nan]),
    (EngineLimits, "row_cache_bytes"): _AT_LEAST_1,
    (EngineLimits, "prefill_chunk"): _AT_LEAST_1,
    (EngineLimits, "prefix_cache_bytes"): ([0, 1], [-1, *_NO_INTEGER]),
    (TrainingSettings, "virtual_tokens"): ([None, 1, 4096], [0, -1, 4097, 1.0, "1", True]),
    (TrainingSettings, "max_steps"): _AT_LEAST_1_OR_NONE,
    (TrainingSettings, "method"): (["kv-prefix", "prompt-tuning"], ["lora", "", None, 1]),
    (TrainingSettings, "start"): (["hard-prompt", "vocabulary"], ["random", "", None, 1]),
    (TrainingSettings, "residual"): ([False], [True, 1, "yes", None]),  # true goes with prompt tuning only
    (TrainingSettings, "select_by"): (["exact-match", "loss"], ["accuracy", "", None]),
    (TrainingSettings, "patience"): _AT_LEAST_1_OR_NONE,
    (TrainingSettings, "save_every"): _AT_LEAST_1,
    (TrainingSettings, "batch_size"): _AT_LEAST_1,
    (TrainingSettings, "learning_rate"): ([None, 1e-9, 1, 10.0], [0, -1, *(value for value in _NO_NUMBER if value is not None)]),
    (TrainingSettings, "warmup_share"): ([0, 0.5, 0.999], [-0.1, 1, 1.5, *_NO_NUMBER]),
    (TrainingSettings, "clip_norm"): ([1e-9, 1, 10.0], [0, -1, *_NO_NUMBER]),
    (TrainingSettings, "evaluate_every"): _AT_LEAST_1_OR_NONE,
    (TrainingSettings, "validation_rows"): _AT_LEAST_1,
    (TrainingSettings, "max_tokens"): _AT_LEAST_1,
    (TrainingSettings, "seed"): ([0, 2**63 - 1], [-1, 2**63, *_NO_INTEGER]),
}
_ALLOWED = [(kind, name, value) for (kind, name), (allowed, _) in _BOUNDS.items() for value in allowed]
_REFUSED = [(kind, name, value) for (kind, name), (_, refused) in _BOUNDS.items() for value in refused]


def test_every_setting_has_its_bounds_tested() -> None:
    assert set(_BOUNDS) == {(kind, field.name) for kind in _CLASSES for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(("kind", "name", "value"), _ALLOWED, ids=lambda value: getattr(value, "__name__", None))
def test_a_value_inside_the_bounds_is_taken(kind: type, name: str, value: object) -> None:
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize(("kind", "name", "value"), _REFUSED, ids=lambda value: getattr(value, "__name__", None))
def test_a_value_outside_the_bounds_is_refused_by_name(kind: type, name: str, value: object) -> None:
    with pytest.raises(InvalidSettingsError, match=rf"^{name}: expected .*, found "):
        kind(**{name: value})


def test_a_residual_network_goes_with_prompt_tuning() -> None:
    assert TrainingSettings(method="prompt-tuning", residual=True).residual


@pytest.mark.parametrize("quantization", [None, "int8", *QUANTIZATIONS])
def test_a_known_quantization_is_taken(quantization: str | None) -> None:
    check_quantization(quantization)


@pytest.mark.parametrize("quantization", ["", "int4", "INT8", "int8 ", "none", 8, True, ["int8"]])
def test_any_other_quantization_is_refused_with_those_there_are(quantization: Any) -> None:
    with pytest.raises(InvalidSettingsError, match=r"^quantization: expected None or one of int8, found "):
        check_quantization(quantization)


@pytest.mark.parametrize("kind", _CLASSES)
def test_the_defaults_are_allowed(kind: type) -> None:
    assert kind() == kind()


def test_override_changes_a_copy_and_leaves_the_original() -> None:
    greedy = GenerationSettings()
    warm = greedy.override(temperature=0.7, top_k=5)
    assert (warm.temperature, warm.top_k, warm.max_new_tokens) == (0.7, 5, greedy.max_new_tokens)
    assert greedy == GenerationSettings()


def test_override_checks_the_new_value() -> None:
    with pytest.raises(InvalidSettingsError, match="top_p"):
        GenerationSettings().override(top_p=2)


@pytest.mark.parametrize("kind", _CLASSES)
def test_override_refuses_an_unknown_name_and_lists_the_known_ones(kind: type) -> None:
    with pytest.raises(InvalidSettingsError, match=f"'temprature' for {kind.__name__}. Known: .*{dataclasses.fields(kind)[0].name}"):
        kind().override(temprature=1)


@pytest.mark.parametrize("kind", _CLASSES)
def test_a_setting_can_not_be_changed_in_place(kind: type) -> None:
    settings, name = kind(), dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(settings, name)
    with pytest.raises((AttributeError, TypeError)):
        settings.something_else = 1


@pytest.mark.parametrize("kind", _CLASSES)
def test_equal_settings_are_one_dictionary_key(kind: type) -> None:
    assert len({kind(), kind()}) == 1


@given(st.sampled_from(sorted(_BOUNDS, key=str)), st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_any_value_at_all_is_taken_or_refused_with_one_typed_error(setting: tuple[type, str], value: object) -> None:
    kind, name = setting
    try:
        settings = kind(**{name: value})
    except InvalidSettingsError:
        return
    hash(settings)
