"""Sources: what can be held to is taken as JSON Schema means it, and what can't be is refused by name."""

from __future__ import annotations

import builtins
import importlib.util
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from langchain_softprompt.errors import InvalidGrammarError, MissingExtraError
from langchain_softprompt.grammars import GrammarSource, available
from langchain_softprompt.grammars.schema_forms import with_closed_objects
from langchain_softprompt.sampling import Grammar
from langchain_softprompt.testing.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
END = TOKENIZER.eos_token_id
INTEGER = {"type": "integer"}
A, B = ({"type": "object", "properties": {name: INTEGER}, "required": [name]} for name in "ab")


def takes(source: GrammarSource, text: str) -> bool:
    """Whether an answer may be this text and end there."""
    state = Grammar(source, TOKENIZER).start(frozenset({END}))
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        if not state.mask(len(TOKENIZER))[token]:
            return False
        state.accept(token)
    return bool(state.mask(len(TOKENIZER))[END])


REFUSED = [
    ({"type": "object", "properties": {"q": {"not": INTEGER}}}, r'at #/properties/q: Unimplemented keys: \["not"\]'),
    ({"$defs": {"a/b": {"type": "array", "uniqueItems": True}}, "$ref": "#/$defs/a~1b"}, r"at #/\$defs/a~1b: .*uniqueItems"),
    ({"if": {}, "then": {}}, "at #: .*if.*then"),
    ({"type": "array", "contains": INTEGER}, "contains"),
    ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ({"propertyNames": {"pattern": "^a"}}, "propertyNames"),
    ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"oneOf": [INTEGER, {"type": "number"}]}, "at #: the branches of a oneOf may overlap"),
    ({"oneOf": [A, {"properties": {"b": INTEGER}}]}, "oneOf may overlap"),
    ({"$ref": "#/nowhere"}, "nowhere"),
    ({"$ref": "https://example.com/schema"}, "example.com"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, r"minimum \(5\) is greater than maximum"),
    ({"allOf": [INTEGER, {"type": "string"}]}, "Unsatisfiable"),
    ({"type": "object", "properties": {}, "required": ["b"], "additionalProperties": False}, "'b' is unsatisfiable"),
    ({"type": "madeup"}, "not well-formed at #/type"),
    ({"type": "object", "properties": {"a": {"minLength": -1}}}, "not well-formed at #/properties/a/minLength"),
    ({"required": "a"}, "not well-formed at #/required"),
    ({"x": object()}, "can't be written as JSON"),
    ({"const": float("nan")}, "can't be written as JSON"),
    ([], "a dictionary here, not list"),
    ({"enum": ["x" * 2000 + str(number) for number in range(600)]}, "1000000 are the most"),
    (json.loads('{"type":"array","items":' * 300 + '{"type":"integer"}' + "}" * 300), "recursion"),
    ({"type": "object", "not": {}, "x-guidance": {"lenient": True}}, "not"),
]


@pytest.mark.parametrize(("schema", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_can_not_be_held_to_is_refused_by_its_name_and_place(schema: Any, sentence: str) -> None:
    with pytest.raises(InvalidGrammarError, match=sentence):
        GrammarSource.from_json_schema(schema)


@pytest.mark.parametrize("pattern", ["(?=a)b", "(a", r"(a)\1", r"\bx\b"])
def test_a_pattern_that_can_not_be_held_to_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidGrammarError, match="The regular expression can't be held to"):
        GrammarSource.from_regex(pattern)


def test_a_lark_grammar_that_can_not_be_read_is_refused() -> None:
    with pytest.raises(InvalidGrammarError, match=r"The Lark grammar can't be held to: .*unknown name"):
        GrammarSource.from_lark("start: foo")


@pytest.mark.parametrize("choices", [[], ["a", ""]])
def test_no_choices_or_an_empty_one_are_refused(choices: list[str]) -> None:
    with pytest.raises(InvalidGrammarError, match="choices: expected"):
        GrammarSource.from_choices(choices)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
def test_a_choice_may_be_any_text(choices: list[str]) -> None:
    source = GrammarSource.from_choices(choices)
    assert all(takes(source, choice) for choice in choices)
    assert not any(takes(source, choice + "x") for choice in choices if choice + "x" not in choices)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"b":[1,2],"a":"x"}', True),
        ('{"b": [1, 2], "a": "x"}', True),
        ('{"b":  [1],"a":"x"}', False),
        ('{ "b":[],"a":"x"}', False),
        ('{"b":[],"a":"x"}\n', False),
        ('{"a":"x","b":[]}', False),
        ('{"b":[],"a":"x","c":1}', False),
        ('{"b":[]}', False),
    ],
)
def test_whitespace_is_a_space_after_comma_and_colon_at_most_and_properties_come_in_the_schemas_order(text: str, *, fits: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"b": {"type": "array", "items": INTEGER}, "a": {"type": "string"}},
        "required": ["a", "b"],
    }
    assert takes(GrammarSource.from_json_schema(schema), text) is fits


def test_objects_stay_open_where_that_is_asked_for() -> None:
    assert not takes(GrammarSource.from_json_schema(A), '{"a":1,"c":2}')
    assert takes(GrammarSource.from_json_schema(A, closed=False), '{"a":1,"c":2}')
    assert takes(GrammarSource.from_json_schema({**A, "additionalProperties": True}), '{"a":1,"c":2}')


CLOSED = {"additionalProperties": False}
BY_NAME = {"$defs": {"A": {**A, "$anchor": "x"}}, "allOf": [{"$ref": "#x"}, B]}
# What is left of a schema and what becomes closed in it.
CLOSING = [
    (A, A | CLOSED),
    ({"type": "array", "items": A}, {"type": "array", "items": A | CLOSED}),
    ({"allOf": [A, B]}, {"allOf": [A, B]}),
    ({"allOf": [A]}, {"allOf": [A | CLOSED]}),
    ({"anyOf": [A, B]}, {"anyOf": [A | CLOSED, B | CLOSED]}),
    ({**A, "anyOf": [B, {"required": ["c"]}]}, {**A, "anyOf": [B, {"required": ["c"]}]}),
    ({"oneOf": [A, B]}, {"oneOf": [A, B]}),
    (
        {"oneOf": [A, B], "discriminator": {"propertyName": "k"}},
        {"oneOf": [A | CLOSED, B | CLOSED], "discriminator": {"propertyName": "k"}},
    ),
    ({"$defs": {"A": A}, "$ref": "#/$defs/A"}, {"$defs": {"A": A | CLOSED}, "$ref": "#/$defs/A"}),
    ({"$defs": {"A": A}, "allOf": [{"$ref": "#/$defs/A"}, B]}, {"$defs": {"A": A}, "allOf": [{"$ref": "#/$defs/A"}, B]}),
    (
        {"$defs": {"A": A, "via": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/via", "properties": {"b": INTEGER}},
        {"$defs": {"A": A, "via": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/via", "properties": {"b": INTEGER}},
    ),
    (BY_NAME, BY_NAME),
    ({"properties": {"a": INTEGER}, "required": ["b"]}, {"properties": {"a": INTEGER}, "required": ["b"]}),
    ({"properties": {"a": INTEGER}, "minProperties": 2}, {"properties": {"a": INTEGER}, "minProperties": 2}),
    (A | {"patternProperties": {"^x": INTEGER}}, A | {"patternProperties": {"^x": INTEGER}}),
    ({"type": "object"}, {"type": "object"}),
    ({"properties": {"properties": A}}, {"properties": {"properties": A | CLOSED}} | CLOSED),
    ({"const": A, "enum": [A]}, {"const": A, "enum": [A]}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "closed"), CLOSING, ids=range(len(CLOSING)))
def test_objects_are_closed_only_where_one_place_says_all_of_them(schema: dict[str, Any], closed: dict[str, Any]) -> None:
    before = json.dumps(schema)
    assert with_closed_objects(schema) == closed
    assert json.dumps(schema) == before, "the user's own schema is left alone"


_NAMES = st.sampled_from("abc")
_PARTS = st.recursive(
    st.sampled_from([INTEGER, {"type": "boolean"}, {"$ref": "#/$defs/D"}, {"$ref": "#/$defs/E"}]),
    lambda inner: st.one_of(
        st.builds(lambda named: {"type": "object", "properties": named}, st.dictionaries(_NAMES, inner, min_size=1, max_size=2)),
        st.builds(lambda named: {"properties": named, "required": sorted(named)}, st.dictionaries(_NAMES, inner, min_size=1, max_size=2)),
        *(
            st.builds(lambda word, many: {word: many}, st.just(word), st.lists(inner, min_size=1, max_size=2))
            for word in ("allOf", "anyOf", "oneOf")
        ),
        st.builds(lambda one, two: {**one, **two}, inner, inner),
    ),
    max_leaves=6,
)
_VALUES = st.recursive(st.sampled_from([1, True]), lambda inner: st.dictionaries(st.sampled_from("abcz"), inner, max_size=3), max_leaves=6)


@given(_PARTS, _PARTS, _VALUES)
def test_what_fits_a_schema_with_closed_objects_fits_the_schema(root: dict[str, Any], part: dict[str, Any], value: Any) -> None:
    schema = {**root, "$defs": {"D": part if part.get("$ref") is None else INTEGER, "E": A}}
    try:
        fits = Draft202012Validator(with_closed_objects(schema)).is_valid(value)
    except RecursionError:  # a reference that goes round in a circle
        return
    assert not fits or Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("name", ["path", "int64", "password", "made-up"])
def test_a_format_that_is_not_known_is_a_remark_and_a_known_one_is_held_to(name: str) -> None:
    assert takes(GrammarSource.from_json_schema({"type": "string", "format": name}), '"anything"')
    assert not takes(GrammarSource.from_json_schema({"type": "string", "format": "date"}), '"anything"')


def test_a_reference_with_letters_beyond_ascii_is_followed() -> None:
    """Pydantic writes such references for classes of such names."""
    source = GrammarSource.from_json_schema({"$defs": {"Größe 1": INTEGER}, "$ref": "#/$defs/Größe 1"})
    assert takes(source, "12")
    assert source.why_invalid("12") is None


def test_a_schema_that_refers_to_itself_in_a_circle_is_held_to_by_the_grammar_alone() -> None:
    source = GrammarSource.from_json_schema({"anyOf": [{"$ref": "#"}, {"type": "null"}]})
    assert takes(source, "null")
    assert source.why_invalid("null") is None


@pytest.mark.parametrize(
    ("schema", "text", "sentence"),
    [
        (A, '{"a":1', "can't be read as JSON"),
        (A, '{"a":"x"}', r"at \$\.a: 'x' is not of type 'integer'"),
        (A, "[" * 100_000, "can't be read as JSON"),
        (A, '{"a":' + "1" * 5000 + "}", "can't be read as JSON"),
        ({"type": "number", "multipleOf": 0.1}, "0.75", "not a multiple of 0.1"),
        ({"type": "object", "minProperties": 2}, '{"a":1,"a":2}', "enough properties"),
    ],
)
def test_an_answer_that_does_not_fit_is_told_why(schema: dict[str, Any], text: str, sentence: str) -> None:
    problem = GrammarSource.from_json_schema(schema).why_invalid(text)
    assert problem is not None
    assert re.search(sentence, problem)


@pytest.mark.parametrize("text", ["0.7", "0.3", "1e2", "7", "0"])
def test_multiples_are_counted_in_decimals(text: str) -> None:
    assert GrammarSource.from_json_schema({"type": "number", "multipleOf": 0.1}).why_invalid(text) is None


def test_an_older_draft_is_read_as_such() -> None:
    """Until 2019 a tuple was written as a list of `items`."""
    tuple_ = {"type": "array", "items": [INTEGER, {"type": "boolean"}], "additionalItems": False, "minItems": 2}
    source = GrammarSource.from_json_schema({"$schema": "http://json-schema.org/draft-07/schema#", **tuple_})
    assert takes(source, "[1,true]")
    assert source.why_invalid('["x",true]') is not None
    with pytest.raises(InvalidGrammarError, match=r"name its draft in \$schema"):
        GrammarSource.from_json_schema(tuple_)


@pytest.mark.parametrize("absent", ["llguidance", "jsonschema"])
def test_without_the_extra_an_error_says_how_to_install_it(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import, real_find = builtins.__import__, importlib.util.find_spec
    monkeypatch.setattr(importlib, "import_module", lambda name: real_import(name) if not name.startswith(absent) else _missing(name))
    monkeypatch.setattr("langchain_softprompt.grammars.library.find_spec", lambda name: None if name == absent else real_find(name))
    with pytest.raises(MissingExtraError, match=rf"needs the package {absent}.*pip install 'langchain-softprompt\[structured\]'"):
        GrammarSource.from_json_schema({"type": "object", "title": absent})
    assert not available()


def _missing(name: str) -> Any:
    raise ModuleNotFoundError(name)
