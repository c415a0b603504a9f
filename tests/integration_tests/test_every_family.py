"""Every family that transformers generates text with runs right or is refused, and docs/models.md says which."""

from __future__ import annotations

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.families.page import line, lines
from tests.families.sizes import NOT_TINY
from tests.families.tiny import FAMILIES, NEAR_WINDOW, has_window
from tests.families.verdict import judge

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_what_transformers_says_or_is_refused_as_the_docs_have_it(family: str) -> None:
    """With windows that the load-time self-test does not read past, and with windows that it does."""
    assert line(judge(family)) == lines()[family], "docs/models.md is out of date: python -m tests.families.page"
    if has_window(family):
        judge(family, NEAR_WINDOW)


def test_no_family_is_left_out() -> None:
    assert {*FAMILIES, *NOT_TINY} == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert set(lines()) == set(FAMILIES)
