"""Every family that transformers generates text with runs right or is refused, and docs/models.md says which."""

from __future__ import annotations

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.families.page import line, lines
from tests.families.sizes import NOT_TINY
from tests.families.tiny import FAMILIES, has_window
from tests.families.verdict import judge

pytestmark = pytest.mark.slow

# Within what the load-time self-test reads, and past it.
NEAR = 8


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_what_transformers_says_or_is_refused_as_the_docs_have_it(family: str) -> None:
    assert line(judge(family)) == lines()[family], "docs/models.md is out of date: python -m tests.families.page"


@pytest.mark.parametrize("family", [family for family in FAMILIES if has_window(family)])
def test_a_family_says_the_same_with_a_window_that_the_self_test_reads_past(family: str) -> None:
    judge(family, NEAR)


def test_no_family_is_left_out() -> None:
    assert {*FAMILIES, *NOT_TINY} == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert set(lines()) == set(FAMILIES)
